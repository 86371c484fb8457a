"""Asking, stopping and killing whole attempts from the supervisor's loop: every function is bounded and waits for nobody."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

from tether.agent import tree
from tether.worker import processes

__all__ = ["ask_stacks", "cont_tree", "kill_tree", "process_facts", "python_with_stacks", "stop_tree"]

_STOP_S = 0.003
_KILL_S = 0.05
_MOST_HURRIED = 64
# Init is 0, the agent and the runners of tools are 1, the tools are 2: only those take our signals on purpose.
_OURS_DEPTH = 2


def python_with_stacks(pid: int) -> bool:
    """Whether a process writes its stacks on SIGUSR1; one that does not would die of it."""
    return processes.takes_signal(pid, signal.SIGUSR1)


def ask_stacks(init_pid: int) -> list[int]:
    """Ask the agent and its tools for the stacks of their threads and asyncio tasks; returns the pids asked.

    Stopped ones are continued, because a stopped process cannot answer.
    """
    asked: list[int] = []
    for process in processes.tree(init_pid):
        if not 0 < process.depth <= _OURS_DEPTH or not python_with_stacks(process.pid):
            continue
        wanted = [number for number in (signal.SIGUSR1, signal.SIGUSR2) if processes.takes_signal(process.pid, number)]
        for number in [*wanted, *([signal.SIGCONT] if process.state in "Tt" else [])]:
            tree.signal_all([process.pid], number)
        asked.append(process.pid)
    return asked


def stop_tree(init_pid: int) -> int:
    """SIGSTOP everything below init and wait for it to stand still, at most 3 ms; returns how many processes there are.

    On a busy machine some stand still only later, or a fork under way completes; another call catches those. Init itself
    goes on: it has no code of the agent, and still has to see the supervisor's end.
    """
    return len(tree.stop_below(init_pid, _STOP_S))


def cont_tree(init_pid: int) -> None:
    """SIGCONT everything below init, leaves first."""
    tree.signal_all(reversed(tree.below(init_pid)), signal.SIGCONT)


def kill_tree(pidfd: int, init_pid: int) -> None:
    """SIGKILL the whole attempt; returns at once. The pidfd is readable when init is gone.

    In a PID namespace the kernel takes everything with init, before init counts as gone. Without one the tree is killed
    from the leaves up for at most 50 ms, init last; call again until init is gone.
    """
    dying = [process.pid for process in processes.tree(init_pid)]
    if not _holds_namespace(init_pid):
        tree.kill_below(init_pid, _KILL_S)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for pid in dying[:_MOST_HURRIED]:
        # Killed, it runs nothing but its own end any more, and for that it needs a turn on a processor others burn.
        tree.signal_all([pid], signal.SIGKILL)
        processes.go_first(pid)


def process_facts(init_pid: int) -> list[dict[str, Any]]:
    """/proc's facts of every process of the attempt, for its dump: state, wait channel, time, memory, bytes, command."""
    return processes.facts(init_pid)


def _holds_namespace(pid: int) -> bool:
    return len(processes.namespace_pids(pid)) > 1
