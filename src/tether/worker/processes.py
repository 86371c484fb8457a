"""Processes as /proc tells of them: an attempt's tree, its facts for the dump, and what outlived its supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Any

from tether.agent import syscalls
from tether.agent.tree import below, children

__all__ = [
    "Process",
    "adopt_orphans",
    "as_usual",
    "end_orphans",
    "facts",
    "go_first",
    "hide",
    "is_alive",
    "namespace_pids",
    "survivors",
    "takes_signal",
    "tree",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_FACTS = 64
_COMMAND_CHARS = 300
_FIRST = -10  # nice value: about nine times the share of a process that nobody prefers


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process: `depth` below the asked one, state as in /proc (R S D T Z …)."""

    pid: int
    depth: int
    state: str


def tree(pid: int) -> list[Process]:
    """The process and every descendant, parents before their children; empty when it is gone."""
    found: list[Process] = []
    waiting = [(pid, 0)]
    for each, depth in waiting:
        state = _state(each)
        if state is not None:
            found.append(Process(pid=each, depth=depth, state=state))
            waiting += [(child, depth + 1) for child in children(each)]
    return found


def go_first(pid: int = 0) -> None:
    """On a busy machine serve this process (0: ours, before it has threads) before the agents, as far as our user may say so.

    A process whose nice value somebody chose keeps it. Where the kernel shares time between sessions first (autogroup), that
    of a session of its own is raised too.
    """
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, pid) in (0, _FIRST):
            os.setpriority(os.PRIO_PROCESS, pid, _FIRST)
            own = pid or os.getpid()
            if os.getsid(pid) == own:
                with open(f"/proc/{own}/autogroup", "w", encoding="ascii") as group:
                    group.write(str(_FIRST))


def as_usual(pid: int) -> None:
    """Take from a child that did nothing yet what it inherited from `go_first`."""
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, pid) == _FIRST:
            os.setpriority(os.PRIO_PROCESS, pid, 0)


def is_alive(pid: int) -> bool:
    """Whether a process is there and not only waits to be reaped."""
    return _state(pid) not in (None, "Z", "X")


def takes_signal(pid: int, number: int) -> bool:
    """Whether a process has something of its own to do on this signal, so that it will not die of it."""
    caught = _status(pid).get("SigCgt")
    return caught is not None and bool(int(caught, 16) & 1 << number - 1)


def namespace_pids(pid: int) -> list[int]:
    """The process's ids in its PID namespaces, from this process's own inwards; one where it has no namespace of its own."""
    return [int(number) for number in _status(pid).get("NSpid", "").split()]


def facts(pid: int) -> list[dict[str, Any]]:
    """What /proc knows of a process and its descendants (the first 64): plain JSON, what cannot be read is left out."""
    return [_facts(each) for each in [pid, *below(pid)][:_MOST_FACTS] if _state(each) is not None]


def survivors(marker: str) -> list[int]:
    """Processes whose environment, as they were executed with it, contains `marker`; as far as this user may look."""
    wanted, found = marker.encode(), list[int]()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and wanted in _read(f"/proc/{name}/environ"):
            found.append(int(name))
    return found


def hide() -> None:
    """Keep other processes of this user from reading this one's memory and environment, where the kernel can."""
    if syscalls.supported() is None:
        syscalls.set_dumpable(False)


def adopt_orphans() -> None:
    """Make what a killed zygote leaves behind children of this process instead of the host's init's."""
    if syscalls.supported() is None:
        syscalls.become_subreaper()


def end_orphans(known: set[int]) -> list[int]:
    """Kill and reap adopted orphans: every child of this process but the `known`, with all below; returns their pids."""
    found = [pid for pid in children(os.getpid()) if pid not in known]
    for pid in found:
        doomed = [*below(pid)[::-1], pid]
        for each in doomed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return found


def _facts(pid: int) -> dict[str, Any]:
    status = _status(pid)
    found: dict[str, Any] = {
        "pid": pid,
        "comm": status.get("Name"),
        "state": status.get("State"),
        "threads": status.get("Threads"),
    }
    fields = _stat_fields(pid)
    if len(fields) > 21:
        found["ppid"] = int(fields[1])
        found["cpu_s"] = round((int(fields[11]) + int(fields[12])) / _TICKS, 2)
        found["rss_bytes"] = int(fields[21]) * _PAGE
    found["wchan"] = _text(f"/proc/{pid}/wchan")
    found["cmdline"] = _text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()[:_COMMAND_CHARS]
    for line in _text(f"/proc/{pid}/io").splitlines():
        name, _, value = line.partition(": ")
        if name in ("rchar", "wchar", "read_bytes", "write_bytes"):
            found[name] = int(value)
    return {key: value for key, value in found.items() if value not in (None, "", "0")}


def _state(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[0] if fields else None


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may contain anything."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _status(pid: int) -> dict[str, str]:
    lines = _text(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _text(path: str) -> str:
    return _read(path).decode("utf-8", "replace")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
