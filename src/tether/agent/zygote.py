"""The zygote at work: one single-threaded process that forks an init per attempt, reaps them, and outlives none of its orders."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tether import packets
from tether.agent import init, sandbox, syscalls, tree, visible
from tether.agent.mounts import Copies
from tether.agent.offer import Offer
from tether.agent.plan import Plan, plan_of

__all__ = ["Zygote"]

_END_S = 1.0
_ORPHANS_S = 0.2


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A living init and whether a PID namespace holds what is below it."""

    key: str
    namespaces: bool


class Zygote:
    """Starts attempts on order of the supervisor. End of file on the control socket ends them all."""

    def __init__(self, control: socket.socket, code_dir: str | None, offer: Offer) -> None:
        self._control = control
        self._code_dir = code_dir
        self._offer = offer
        self._attempts: dict[int, _Attempt] = {}
        self._outbox: collections.deque[tuple[dict[str, Any], list[int]]] = collections.deque()
        self._wake, self._ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        control.setblocking(False)

    def serve(self) -> NoReturn:
        """Serve until the supervisor is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.register(self._control, select.POLLIN | (select.POLLOUT if self._outbox else 0))
            ready = dict(poll.poll())
            if ready.get(self._wake):
                self._reap()
            if ready.get(self._control.fileno()):
                self._flush()
                self._listen()

    def send(self, packet: dict[str, Any], fds: list[int] | None = None) -> None:
        """Say something to the supervisor, now or when it has room; the descriptors are closed afterwards."""
        self._outbox.append((packet, fds or []))
        self._flush()

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                received = packets.receive(self._control)
                if received is None:
                    self._end()
                packet, fds = received
                try:
                    if packet.get("op") == "start":
                        self._start(str(packet["key"]), packet["spec"], fds)
                finally:
                    for fd in fds:
                        os.close(fd)

    def _start(self, key: str, spec: Mapping[str, Any], fds: list[int]) -> None:
        try:
            plan = self._plan(key, spec, fds)
            pid = self._fork_init(plan)
        except Exception as error:
            said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            self.send({"op": "start_failed", "key": key, "problem": said})
            return
        self._attempts[pid] = _Attempt(key=key, namespaces=plan.namespaces)
        self.send({"op": "started", "key": key, "pid": pid}, [os.pidfd_open(pid)])

    def _plan(self, key: str, spec: Mapping[str, Any], fds: list[int]) -> Plan:
        walls = self._offer.chosen(str(spec.get("isolation") or "auto"))
        namespaces = walls is self._offer.inside
        if spec.get("uid") is not None and not self._offer.uids(walls):
            raise ValueError("uid: another user cannot read this interpreter or this code; start the attempt without uid")
        above = os.path.dirname(spec["workspace"])
        if not namespaces and spec.get("uid") is not None and (closed := visible.impassable([above])):
            raise ValueError(f"uid: another user cannot pass {closed} to its workspace; start the attempt without uid")
        if not namespaces and (spec.get("gateway") or {}).get("port") is None:
            raise ValueError("gateway.port: without a network namespace the gateway needs a port of the host")
        return plan_of(key, spec, fds, code_dir=self._code_dir, namespaces=namespaces, walls=walls)

    def _fork_init(self, plan: Plan) -> int:
        told, tell = os.pipe2(os.O_CLOEXEC)
        copies = sandbox.copies_by_root(plan.visible, plan.ids) if plan.namespaces else None
        try:
            pid = self._fork(plan, copies, told, tell)
            self._admit(pid, plan, tell)
            return pid
        finally:
            os.close(told)
            os.close(tell)
            if copies is not None:
                copies.close()

    def _fork(self, plan: Plan, copies: Copies | None, told: int, tell: int) -> int:
        zygote = os.getpid()
        pid = syscalls.clone(sandbox.NAMESPACES) if plan.namespaces else os.fork()
        if pid:
            return pid
        try:
            init.become_init(plan, copies, told, (tell, self._control.fileno(), self._wake, self._ring), zygote)
        finally:
            # Whatever happens, a child must never go on as a second zygote.
            os._exit(1)

    def _admit(self, pid: int, plan: Plan, tell: int) -> None:
        """Root writes the maps of the child's user namespace; the child waits for that."""
        if not (plan.namespaces and plan.ids.by_root):
            return
        try:
            sandbox.write_maps(pid, plan.ids)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise OSError(error.errno, f"uid {plan.ids.uid} cannot be used for an attempt ({error.strerror})") from None
        os.write(tell, b"+")

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass
        orphans = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                attempt = self._attempts.pop(pid, None)
                orphans = orphans or attempt is None or not attempt.namespaces
                if attempt is not None:
                    self.send({"op": "exited", "key": attempt.key, "status": status})
        if orphans:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """What an init without a namespace left behind comes to the zygote, and has no right to live."""
        for pid in tree.children(os.getpid()):
            if pid not in self._attempts:
                tree.signal_all([pid], signal.SIGSTOP)
                tree.kill_below(pid, _ORPHANS_S)
                tree.signal_all([pid], signal.SIGKILL)

    def _end(self) -> NoReturn:
        """The supervisor is gone: nothing it started may go on."""
        try:
            held = [pid for pid, attempt in self._attempts.items() if attempt.namespaces]
            tree.signal_all(held, signal.SIGKILL)
            deadline = time.monotonic() + _END_S
            if len(held) < len(self._attempts):
                tree.end_children(_END_S)
            with contextlib.suppress(ChildProcessError):
                while time.monotonic() < deadline:
                    if os.waitpid(-1, os.WNOHANG)[0] == 0:
                        time.sleep(0.002)
        finally:
            os._exit(0)

    def _flush(self) -> None:
        while self._outbox:
            packet, fds = self._outbox[0]
            try:
                packets.send(self._control, packet, fds)
            except BlockingIOError:
                return
            except packets.LinkClosed:
                self._end()
            self._outbox.popleft()
            for fd in fds:
                os.close(fd)
