"""The zygotes of one worker, one per agent: warmed early, started again when they die, asked to start attempts once ready."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tether.config import AgentSettings, Settings
from tether.errors import TetherError, WorkerError
from tether.worker import launching
from tether.worker.loop import Loop, now_s
from tether.worker.zygote import Exited, Failed, Gone, Message, Ready, Started, StartFailed, Zygote, ZygoteSpec, spawn_zygote

__all__ = ["StartProblem", "Zygotes"]

log = logging.getLogger("tether.worker")
_READY_S = 120.0
_MOST_FAILURES = 3
_MOST_KILLS = 20
_RETRY_S = 0.005
_REAP_S = 0.05
_CLOSE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class StartProblem:
    """Why no attempt can be started; transient: trying again may help."""

    text: str
    transient: bool


WhenReady = Callable[[StartProblem | Ready], None]


class Reports(Protocol):
    """Who is told what zygotes report."""

    def started(self, key: str, pid: int, pidfd: int) -> None: ...

    def not_started(self, key: str, problem: str, *, transient: bool) -> None: ...

    def zygote_lost(self, agent: str) -> None: ...


@dataclass(kw_only=True)
class _Kept:
    zygote: Zygote
    ready: Ready | None = None
    waiting: list[WhenReady] = field(default_factory=list[WhenReady])
    spawned_s: float = field(default_factory=now_s)


class Zygotes:
    """Zygotes by agent name."""

    def __init__(self, loop: Loop, settings: Settings, end_orphans: Callable[[], None]) -> None:
        """end_orphans: called when a zygote died, to end what it left behind."""
        self._loop = loop
        self._settings = settings
        self._kept: dict[str, _Kept] = {}
        self._alive: set[Zygote] = set()
        self._failures: dict[str, int] = {}
        self._reports: Reports | None = None
        self._end_orphans = end_orphans
        self._closing = False

    def pids(self) -> set[int]:
        """Process ids of all zygotes, also of those that are about to be gone."""
        return {zygote.pid for zygote in self._alive}

    def report_to(self, reports: Reports) -> None:
        """Who is told of started and lost attempts."""
        self._reports = reports

    def warm(self, names: Iterable[str]) -> None:
        """Start the zygotes of these agents before anything needs them."""
        for name in names:
            self._spawn(name, self._settings.agent(name))

    def when_ready(self, name: str, agent: AgentSettings, then: WhenReady) -> None:
        """Call `then` with what the agent's zygote is ready for once it is warm, or with why it cannot be."""
        kept = self._kept.get(name) or self._spawn(name, agent)
        if isinstance(kept, StartProblem):
            then(kept)
        elif kept.ready is not None:
            then(kept.ready)
        else:
            kept.waiting.append(then)

    def start(self, name: str, key: str, spec: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Have the agent's zygote start an attempt; the descriptors become ours and are closed once they are sent."""
        kept = self._kept.get(name)
        try:
            if kept is None:
                raise WorkerError("the zygote is gone")
            kept.zygote.start(key, spec, fds)
        except BlockingIOError:
            self._loop.after(_RETRY_S, lambda: self.start(name, key, spec, fds))
            return
        except WorkerError:
            self._loop.post(lambda: self._told().not_started(key, "its zygote died", transient=True))
        for fd in fds:
            os.close(fd)

    def version(self, name: str) -> str:
        """The agent's version: as configured, else a hash of its configuration."""
        agent = self._settings.agent(name)
        return agent.version or hashlib.sha256(agent.model_dump_json().encode()).hexdigest()[:12]

    def close(self) -> None:
        """End all zygotes, and with them what they started; waits for at most 3 s."""
        self._closing = True
        zygotes = [kept.zygote for kept in self._kept.values()]
        for zygote in zygotes:
            self._loop.unwatch(zygote.fileno())
            zygote.close()
        until_s = now_s() + _CLOSE_S
        while zygotes and now_s() < until_s:
            zygotes = [zygote for zygote in zygotes if zygote.reap() is None]
            time.sleep(0.01)
        for zygote in zygotes:
            zygote.kill()
            zygote.reap()
        self._kept.clear()

    def _spawn(self, name: str, agent: AgentSettings) -> _Kept | StartProblem:
        if self._closing:
            return StartProblem(text="the worker is closing", transient=True)
        try:
            kept = _Kept(zygote=spawn_zygote(self._spec(name, agent)))
        except TetherError as error:
            return StartProblem(text=str(error), transient=False)
        self._kept[name] = kept
        self._alive.add(kept.zygote)
        self._loop.watch(kept.zygote.fileno(), lambda: self._read(name, kept))
        self._loop.after(_READY_S, lambda: self._too_slow(name, kept))
        return kept

    def _spec(self, name: str, agent: AgentSettings) -> ZygoteSpec:
        base, tools = self._settings.base_dir, self._settings.tools
        return ZygoteSpec(
            name=name,
            kind=agent.kind,
            python=str((base / agent.python).absolute()) if agent.python else None,
            entry=agent.entry or None,
            code_dir=launching.code_dir(self._settings, agent),
            # a command gets its variables with each attempt; the zygote must not be led by them
            env={} if agent.kind == "command" else launching.agent_environment(agent),
            isolation=self._settings.worker.isolation,
            uid=launching.slot_uid(0),
            workspaces=str(self._settings.workspaces),
            tools=tuple(tools[tool].entry for tool in agent.tools if tool in tools and tools[tool].entry),
            readable=launching.readable(self._settings, agent),
            builtin=launching.rehearsed(self._settings, agent) if agent.kind == "builtin" else {},
        )

    def _read(self, name: str, kept: _Kept) -> None:
        for message in kept.zygote.packets():
            self._take(name, kept, message)
            if isinstance(message, Gone | Failed):
                # The socket is closed now; there is nothing more to read.
                return

    def _take(self, name: str, kept: _Kept, message: Message) -> None:
        told = self._told()
        match message:
            case Ready():
                kept.ready = message
                self._failures.pop(name, None)
                for note in message.notes:
                    log.info("agent %s: %s", name, note)
                self._answer(kept, message)
            case Failed():
                remedy = f"; {message.remedy}" if message.remedy else ""
                self._answer(kept, StartProblem(text=f"{message.field}: {message.problem}{remedy}", transient=False))
                self._forget(name, kept)
            case Started():
                told.started(message.key, message.pid, message.pidfd)
            case StartFailed():
                told.not_started(message.key, message.problem, transient=False)
            case Exited():
                pass  # the pidfd told before
            case Gone():
                self._lost(name, kept, message.tail)

    def _lost(self, name: str, kept: _Kept, tail: str, patience: int = 100) -> None:
        """It closed its socket: how it died decides whether starting it again can help."""
        if kept.zygote.fileno() >= 0:
            self._loop.unwatch(kept.zygote.fileno())
        status = kept.zygote.reap()
        if status is None and patience > 0:
            self._loop.after(_REAP_S / 10, lambda: self._lost(name, kept, tail, patience - 1))
            return
        self._forget(name, kept)
        if self._closing:
            return
        self._failures[name] = self._failures.get(name, 0) + 1
        log.warning("the zygote of agent %s died (exit %s): %s", name, status, tail or "it said nothing")
        # Somebody's SIGKILL is no fault of the agent; dying again and again while it is being prepared is.
        most = _MOST_KILLS if status == -signal.SIGKILL else _MOST_FAILURES
        hopeless = kept.ready is None and self._failures[name] >= most
        said = tail[-500:] or f"it said nothing (exit {status})"
        text = f"agents.{name}: its process died while it was being prepared: {said}"
        self._answer(kept, StartProblem(text=text, transient=not hopeless))
        self._told().zygote_lost(name)

    def _forget(self, name: str, kept: _Kept) -> None:
        """Stop watching; whoever needs the agent next starts a fresh zygote."""
        if kept.zygote.fileno() >= 0:
            self._loop.unwatch(kept.zygote.fileno())
            kept.zygote.close()
        if self._kept.get(name) is kept:
            del self._kept[name]
        self._reap(kept)

    def _reap(self, kept: _Kept) -> None:
        if kept.zygote.reap() is None:
            self._loop.after(_REAP_S, lambda: self._reap(kept))
        elif kept.zygote in self._alive:
            self._alive.discard(kept.zygote)
            # Again a little later: what was being forked at that moment comes to us only now.
            for delay_s in (0.0, 0.2, 1.0):
                self._loop.after(delay_s, self._end_orphans)

    def _too_slow(self, name: str, kept: _Kept) -> None:
        if kept.ready is None and self._kept.get(name) is kept:
            text = f"agents.{name}.entry: preparing it took more than {_READY_S:g} s; do less while it is imported"
            self._answer(kept, StartProblem(text=text, transient=False))
            kept.zygote.kill()
            self._forget(name, kept)

    def _answer(self, kept: _Kept, answer: StartProblem | Ready) -> None:
        waiting, kept.waiting = kept.waiting, []
        for then in waiting:
            then(answer)

    def _told(self) -> Reports:
        assert self._reports is not None
        return self._reports
