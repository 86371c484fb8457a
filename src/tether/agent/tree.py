"""Process trees read from /proc, stopped and killed as a whole; for processes no namespace holds together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

__all__ = ["below", "children", "end_children", "kill_below", "signal_all", "stop_below"]

_PATIENCE_S = 1.0
_MOST_ROUNDS = 200


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
    """SIGSTOP every descendant until none is new, so that nobody is left to fork; returns them, parents first."""
    stopped: dict[int, None] = {}
    deadline = time.monotonic() + patience_s
    for _ in range(_MOST_ROUNDS):
        fresh = [each for each in below(pid) if each not in stopped]
        if not fresh:
            break
        signal_all(fresh, signal.SIGSTOP)
        stopped.update(dict.fromkeys(fresh))
        if time.monotonic() > deadline:
            break
    return list(stopped)


def kill_below(pid: int, patience_s: float = _PATIENCE_S) -> list[int]:
    """Stop every descendant, then SIGKILL them, leaves first; returns them."""
    found = stop_below(pid, patience_s)
    signal_all(reversed(found), signal.SIGKILL)
    return found


def end_children(patience_s: float = _PATIENCE_S) -> None:
    """Kill and reap everything below this process, which must be a subreaper, within `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        kill_below(os.getpid(), deadline - time.monotonic())
        if not _reap_until(deadline):
            return


def _reap_until(deadline: float) -> bool:
    """Reap killed children; True while others may still be there."""
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            if any(not _is_dying(child) for child in children(os.getpid())):
                return True
            time.sleep(0.001)
    return True


def _is_dying(pid: int) -> bool:
    """Whether SIGKILL is on its way to a process, or it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            facts = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    except OSError:
        return True
    pending = int(facts[b"ShdPnd"], 16) | int(facts[b"SigPnd"], 16)
    return facts[b"State"].split()[0] in (b"Z", b"X") or bool(pending & 1 << signal.SIGKILL - 1)
