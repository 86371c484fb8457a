"""What one process of an attempt may take: memory, CPU time, files, processes, and time itself."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Mapping

from tether.agent import syscalls

__all__ = ["first_to_be_killed", "limit_processes", "limit_resources"]

# A uid shared with the worker also counts the worker's own processes, so its bound leaves room for those.
_SHARED_UID_ROOM = 4096


def limit_resources(limits: Mapping[str, int]) -> None:
    """Set hard limits from memory_bytes, cpu_s, file_bytes, open_files; each process of the attempt has them for itself."""
    # DATA, not AS: runtimes reserve far more address space than they use, and only private writable memory is spent.
    for name, what in (
        ("memory_bytes", resource.RLIMIT_DATA),
        ("cpu_s", resource.RLIMIT_CPU),
        ("file_bytes", resource.RLIMIT_FSIZE),
        ("open_files", resource.RLIMIT_NOFILE),
    ):
        if limits.get(name) is not None:
            _at_most(what, int(limits[name]))
    _at_most(resource.RLIMIT_CORE, 0)


def limit_processes(limits: Mapping[str, int], *, own_uid: bool) -> None:
    """Bound the number of processes, where the kernel counts them for this attempt's uid (it does not for root)."""
    processes = limits.get("processes")
    if processes is None or os.geteuid() == 0:
        return
    _at_most(resource.RLIMIT_NPROC, int(processes) if own_uid else int(processes) + _SHARED_UID_ROOM)


def first_to_be_killed() -> None:
    """When the host is out of memory, this process and its children go before anything else."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def arm_deadline(seconds: float | None) -> None:
    """The kernel kills this process `seconds` from now, whatever it and its supervisor do by then."""
    if seconds is not None:
        syscalls.arm_kill_timer(max(float(seconds), 0.0))


def _at_most(what: int, wanted: int) -> None:
    _, hard = resource.getrlimit(what)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (value, value))
