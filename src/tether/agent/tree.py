"""Process trees read from /proc, stopped and killed as a whole; for processes no namespace holds together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

__all__ = ["below", "children", "end_children", "is_dying", "kill_below", "signal_all", "stop_below"]

_PATIENCE_S = 1.0
_LOOK_S = 0.0005
_STILL, _DEAD = "TtZX", "ZX"


def children(pid: int) -> list[int]:
    """The direct children of a process, of all its threads; empty when it is gone."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            found += map(int, file.read().split())
    return found


def below(pid: int) -> list[int]:
    """Every descendant of a process, parents before their children."""
    found = children(pid)
    for each in found:
        found += children(each)
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def stop_below(pid: int, patience_s: float = _PATIENCE_S) -> list[int]:
    """SIGSTOP every descendant and wait until each stands still, at most `patience_s`; returns them, parents first.

    A fork that is under way when the signal comes still completes, so only who stands still has no more children to come.
    """
    deadline = time.monotonic() + patience_s
    stopped: set[int] = set()
    before: list[int] | None = None
    while True:
        found = below(pid)
        signal_all((each for each in found if each not in stopped), signal.SIGSTOP)
        stopped.update(found)
        if (found == before and all(_state(each) in _STILL for each in found)) or time.monotonic() > deadline:
            return found
        if found == before:
            time.sleep(_LOOK_S)
        before = found


def kill_below(pid: int, patience_s: float = _PATIENCE_S) -> None:
    """SIGKILL every descendant until none is left that is not dying; nobody who was sent it completes a fork any more.

    A walk can miss a process that changes parents meanwhile, so the last two must be equal. The process itself has to be
    the subreaper of those below.
    """
    deadline = time.monotonic() + patience_s
    doomed: set[int] = set()
    before: list[int] | None = None
    while True:
        found = below(pid)
        signal_all((each for each in reversed(found) if each not in doomed), signal.SIGKILL)
        if (found == before and doomed.issuperset(found)) or time.monotonic() > deadline:
            return
        doomed.update(found)
        before = found


def end_children(patience_s: float = _PATIENCE_S) -> None:
    """Kill and reap everything below this process, which must be a subreaper, within `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        kill_below(os.getpid(), deadline - time.monotonic())
        if not _reap_until(deadline):
            return


def _reap_until(deadline: float) -> bool:
    """Reap killed children; True when there is one that was not killed, or time is over."""
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            if not all(is_dying(child) for child in children(os.getpid())):
                return True
            time.sleep(_LOOK_S)
    return True


def is_dying(pid: int) -> bool:
    """Whether SIGKILL is on its way to a process, or it is gone."""
    status = _status(pid)
    if not status or _state(pid) in _DEAD:
        return True
    pending = int(status["ShdPnd"], 16) | int(status["SigPnd"], 16)
    return bool(pending & 1 << signal.SIGKILL - 1)


def _state(pid: int) -> str:
    return _status(pid).get("State", "X")[:1]


def _status(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}
