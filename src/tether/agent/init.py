"""Init: the first process of an attempt. It runs no code of the agent, holds the tree together, and ends with it.

It goes behind the walls, starts the agent and each tool as a child of its own, reaps, and reports on its control socket.
End of file on that socket is the supervisor's death, and then everything here ends at once, as it does when the zygote is dead.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tether import packets
from tether.agent import confine, limits, sandbox, start, syscalls, tool_runner, tree
from tether.agent.mounts import Copies
from tether.agent.plan import Plan
from tether.agent.tool_runner import ToolCall, runner_status

__all__ = ["become_init"]

_CANNOT_START = 71
_DEADLINE_GRACE_S = 1.0
_END_S = 2.0


def become_init(plan: Plan, copies: Copies | None, told: int, close: Sequence[int], zygote: int) -> NoReturn:
    """Turn this child of the zygote into init; never returns. `close`: descriptors of the zygote it must not have."""
    ctl = socket.socket(fileno=plan.channels.ctl)
    try:
        for fd in close:
            os.close(fd)
        bell = _listen_for_children()
        notes = _go_behind_walls(plan, copies, told, zygote)
        init = Init(plan, ctl, notes, bell, parent=0 if plan.namespaces else zygote)
    except BaseException as error:
        with contextlib.suppress(Exception):
            packets.send(ctl, {"op": "failed", "problem": str(error) or type(error).__name__, "remedy": _remedy(error)})
        os._exit(_CANNOT_START)
    try:
        init.conduct()
    finally:
        init.end()


def _go_behind_walls(plan: Plan, copies: Copies | None, told: int, zygote: int) -> list[str]:
    if plan.namespaces:
        os.setsid()
        room, home = plan.memory_bytes, plan.workspace
        notes = sandbox.enter(plan.visible, copies, plan.ids, told, memory_bytes=room, home=home)
    else:
        notes = _stay_outside(plan, zygote)
    os.close(told)
    return notes


def _listen_for_children() -> tuple[int, int]:
    """Ignore what can be ignored; the first of the returned descriptors is readable when a child ended."""
    wake, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    confine.ignore_signals()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    return wake, ring


def _stay_outside(plan: Plan, zygote: int) -> list[str]:
    # Not SIGKILL: what no namespace holds together has to be ended by us. SIGCONT wakes an init that was stopped, too.
    signal.signal(signal.SIGCONT, lambda *_: None)
    syscalls.die_with_parent(signal.SIGCONT)
    if os.getppid() != zygote:
        os._exit(_CANNOT_START)
    os.setsid()
    syscalls.become_subreaper()
    limits.first_to_be_killed()
    syscalls.set_dumpable(False)
    # Agents are found by their tree here, so the init that holds it gets a deadline from the kernel as well.
    deadline = plan.spec.get("deadline_s")
    limits.arm_deadline(None if deadline is None else deadline + _DEADLINE_GRACE_S + _END_S)
    if plan.ids.own:
        return []
    return ["the attempt has the worker's user: it could change modes and times of files of that user"]


def _remedy(error: BaseException) -> str:
    path = getattr(error, "filename", None)
    if isinstance(error, PermissionError) and path:
        return f'let the worker\'s user read {path}, or set isolation = "cooperative" for this agent'
    return 'run `tether doctor` on this machine, or set isolation = "cooperative" for this agent'


class Init:
    """One poll loop over the control socket and the ends of children; nothing in it waits."""

    def __init__(self, plan: Plan, ctl: socket.socket, notes: Sequence[str], bell: tuple[int, int], *, parent: int) -> None:
        """parent: the zygote as getppid sees it; when that is another one, everything here ends."""
        self._plan = plan
        self._parent = parent
        self._ctl = ctl
        self._wake = bell[0]
        self._own = (ctl.fileno(), *bell)
        self._outbox: collections.deque[tuple[dict[str, Any], list[int]]] = collections.deque()
        self._runners: dict[int, str] = {}
        self._agent = 0
        self._ending = False
        deadline = plan.spec.get("deadline_s")
        self._deadline = None if deadline is None else time.monotonic() + float(deadline) + _DEADLINE_GRACE_S
        self._rules = confine.new_rules(plan)
        ctl.setblocking(False)
        self._report_up(notes)

    def conduct(self) -> None:
        """Start the agent and serve until told to end, the supervisor is gone, or the time is over."""
        self._start_agent()
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while not self._ending:
            poll.register(self._ctl, select.POLLIN | (select.POLLOUT if self._outbox else 0))
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            ready = dict(poll.poll(None if left is None else left * 1000 + 1))
            if ready.get(self._wake):
                self._reap()
                if os.getppid() != self._parent:
                    return
            if ready.get(self._ctl.fileno()):
                self._flush()
                self._listen()

    def end(self) -> NoReturn:
        """Leave, and take everything below along."""
        try:
            if not self._plan.namespaces:
                tree.end_children(_END_S)
        finally:
            os._exit(0)

    def _report_up(self, notes: Sequence[str]) -> None:
        inside = self._plan.namespaces
        listeners = [sock.detach() for sock in sandbox.open_listeners()] if inside else []
        walls = self._plan.walls.document()
        why = walls.pop("why")
        self._send({"op": "up", "walls": walls, "why": why, "notes": list(notes)}, listeners)

    def _start_agent(self) -> None:
        self._agent = os.fork()
        if self._agent == 0:
            start.become_agent(self._plan, self._rules, self._own)
        channels = self._plan.channels
        for fd in (channels.link, channels.stdout, channels.stderr, channels.astacks):
            os.close(fd)
        self._send({"op": "agent_started", "pid": self._agent})

    def _start_tool(self, request: Mapping[str, Any], fds: list[int]) -> None:
        call = ToolCall.of(request, fds)
        try:
            runner = self._fork_runner(call)
        except OSError as error:
            self._send({"op": "tool_exited", "tool_id": call.tool_id, "status": None, "problem": str(error)})
            return
        self._runners[runner] = call.tool_id
        self._send({"op": "tool_started", "tool_id": call.tool_id})

    def _fork_runner(self, call: ToolCall) -> int:
        flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS
        runner = syscalls.clone(flags) if self._plan.namespaces else os.fork()
        if runner == 0:
            tool_runner.become_runner(self._plan, self._rules, call, self._own)
        return runner

    def _kill_tool(self, tool_id: str) -> None:
        for runner, running in self._runners.items():
            if running != tool_id:
                continue
            if not self._plan.namespaces:
                tree.kill_below(runner)
            tree.signal_all([runner], signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        if pid == self._agent:
            self._agent = 0
            self._send({"op": "agent_exited", "status": status})
        elif pid in self._runners:
            self._send({"op": "tool_exited", "tool_id": self._runners.pop(pid), "status": runner_status(status)})

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self._ending:
                received = packets.receive(self._ctl)
                if received is None:
                    self._ending = True
                    return
                self._obey(*received)

    def _obey(self, packet: Mapping[str, Any], fds: list[int]) -> None:
        try:
            match packet.get("op"):
                case "tool":
                    self._start_tool(packet, fds)
                case "kill_tool":
                    self._kill_tool(str(packet["tool_id"]))
                case "end":
                    self._ending = True
                case _:
                    pass
        finally:
            for fd in fds:
                os.close(fd)

    def _send(self, packet: dict[str, Any], fds: list[int] | None = None) -> None:
        self._outbox.append((packet, fds or []))
        self._flush()

    def _flush(self) -> None:
        """Send what the supervisor has room for; a slow one is never waited for."""
        while self._outbox:
            packet, fds = self._outbox[0]
            try:
                packets.send(self._ctl, packet, fds)
            except BlockingIOError:
                return
            except packets.LinkClosed:
                self._ending = True
                self._outbox.clear()
                return
            self._outbox.popleft()
            for fd in fds:
                os.close(fd)
