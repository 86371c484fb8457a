"""Facts of /proc that benchmarks measure by: CPU time and memory of processes, the load of the machine."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from tether.worker import processes

__all__ = ["cpu_ms", "load", "may_open_more", "memory_mb", "tree_of"]


def cpu_ms(pids: Iterable[int]) -> float:
    """Milliseconds of CPU that these processes used so far, with all their living threads."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def memory_mb(pids: Iterable[int], *names: str) -> float:
    """Sum of these lines of smaps_rollup over the processes, in MB (2**20 bytes)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                total += int(value.split()[0]) if name in names else 0
    return total / 1024


def tree_of(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(process.pid for process in processes.tree(pid) if process.pid != pid)]


def load() -> str:
    """The machine's load over the last minute."""
    return f"load {os.getloadavg()[0]:.1f}"


def may_open_more() -> None:
    """Take as many descriptors as this process may have: hundreds of attempts need some each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
