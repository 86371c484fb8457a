"""The attempts of one worker, from claim to gone: started through a zygote, watched by their clocks, ended by Closing.

Everything here is called in the loop. What init and the agent report is matched to its attempt by key, as is what the gateway
does (`reports.py`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tether import packets
from tether.config import Settings
from tether.lifecycle import Reason
from tether.store.rows import Claim, Started
from tether.worker import killing, launching
from tether.worker.attempt import LiveAttempt, Phase
from tether.worker.channel import Channel
from tether.worker.clocks import Clocks
from tether.worker.conversation import Conversation
from tether.worker.ending import Closing
from tether.worker.gateway import Admission
from tether.worker.leaving import Leaving
from tether.worker.loop import now_s
from tether.worker.outcome import Outcome, of_deadline
from tether.worker.output import Pipe
from tether.worker.parking import Parking
from tether.worker.replaying import Replaying
from tether.worker.reports import Reports
from tether.worker.surroundings import Surroundings
from tether.worker.zygote import Ready
from tether.worker.zygotes import StartProblem, Zygotes

__all__ = ["Attempts"]

log = logging.getLogger("tether.worker")
_LAST_WORDS_S = 0.02
_PREPARE_S = 150.0


class Attempts:
    """All live attempts by key; `freed` is called when one is gone, `parked` with how many slots parked ones gave away."""

    def __init__(self, around: Surroundings, zygotes: Zygotes, freed: Callable[[], None], parked: Callable[[int], None]) -> None:
        self._around = around
        self.parking = Parking(around, parked)
        self.reports = Reports(around, self, self.parking)
        self._leaving = Leaving(around)
        self._replaying = Replaying(around)
        self._zygotes = zygotes
        self._freed = freed
        self._windows = launching.Windows(around.settings)
        self._live: dict[str, LiveAttempt] = {}
        self._conversations: dict[str, Conversation] = {}
        self._closings: dict[str, Closing] = {}
        self._slots: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def all(self) -> Iterable[LiveAttempt]:
        """Every attempt that is not gone."""
        return tuple(self._live.values())

    def of_key(self, key: str) -> LiveAttempt | None:
        """The attempt of that key, if it is here."""
        return self._live.get(key)

    def conversation(self, attempt: LiveAttempt) -> Conversation:
        """What an attempt that is here says over Link, and is answered."""
        return self._conversations[attempt.key]

    def of_task(self, task_id: str) -> LiveAttempt | None:
        """The attempt of a task, if it is here."""
        return next((attempt for attempt in self._live.values() if attempt.claim.task_id == task_id), None)

    # --- start ------------------------------------------------------------------------------------------------------

    def begin(self, claim: Claim, workspace: Path | Exception) -> None:
        """Step 1: a claim becomes an attempt; what cannot start ends with a clear reason."""
        settings: Settings = self._around.settings
        timeouts, now = claim.timeouts, now_s()
        clocks = Clocks(
            started_s=now,
            task_s=timeouts.task_s,
            task_left_s=max(timeouts.task_s - claim.active_s, 0.0),
            step_s=timeouts.step_s,
            idle_s=timeouts.idle_s,
        )
        agent = settings.agent(claim.task.agent)
        kept = settings.worker.output_kb * 1024
        attempt = LiveAttempt(claim, agent, clocks, keep_bytes=min(kept, 1 << 20), journal_bytes=kept)
        self._live[attempt.key] = attempt
        self._slots[attempt.key] = min(set(range(len(self._live) + 1)) - set(self._slots.values()))
        self._conversations[attempt.key] = Conversation(attempt, self._around)
        if isinstance(workspace, Exception):
            self.end(attempt, Outcome(reason=Reason.POLICY, message=str(workspace)), dump=False)
            return
        if clocks.task_left_s <= 0:
            deadline = clocks.next()
            assert deadline is not None
            self.end(attempt, of_deadline(deadline, now), dump=False)
            return
        attempt.prepare_timer = self._around.loop.after(_PREPARE_S, lambda: self._unprepared(attempt))

        def start() -> None:
            self._zygotes.when_ready(claim.task.agent, agent, lambda ready: self._start(attempt, workspace, ready))

        self._conversations[attempt.key].nudging.remember()
        self._replaying.before(attempt, start)

    def _unprepared(self, attempt: LiveAttempt) -> None:
        """Whatever went wrong, a claim that never became a process does not keep its task."""
        if attempt.init_pid is None:
            self._not_started(attempt, f"it was not prepared within {_PREPARE_S:g} s", transient=True)

    def _start(self, attempt: LiveAttempt, workspace: Path, ready: StartProblem | Ready) -> None:
        """Step 2: the zygote is warm (or cannot be): hand it channels, pipes and the AttemptSpec."""
        if not attempt.is_live:
            return
        if isinstance(ready, StartProblem):
            self._not_started(attempt, ready.text, transient=ready.transient)
            return
        attempt.clocks.begin(now_s())
        self.rearm(attempt)
        uid = launching.attempt_uid(self._slots[attempt.key], attempt.agent, workspace) if ready.uids else None
        if not attempt.agent.in_place:
            launching.give_workspace(workspace, uid)
        ports: dict[str, int] | None = None
        if ready.network != "enforced":
            attempt.listeners = launching.host_listeners()
            ports = {name: listener.getsockname()[1] for name, listener in attempt.listeners.items()}
            self._admit(attempt, {name: listener.fileno() for name, listener in attempt.listeners.items()})
        spec = launching.attempt_spec(
            self._around.settings,
            attempt,
            workspace,
            windows=self._windows,
            uid=uid,
            ports=ports,
            secrets=self._around.hiding.environment(attempt.claim.task_id),
        )
        fds = self._connect(attempt)
        self._zygotes.start(attempt.claim.task.agent, attempt.key, spec, fds)

    def _connect(self, attempt: LiveAttempt) -> list[int]:
        """Our ends into the loop, their ends returned: link, ctl, stdout, stderr, stacks, astacks."""
        link_ours, link_theirs = packets.pair()
        ctl_ours, ctl_theirs = packets.pair()
        attempt.link = Channel(self._around.loop, link_ours, lambda p, fds: self._said(attempt, p, fds), lambda: None)
        attempt.ctl = Channel(self._around.loop, ctl_ours, lambda p, fds: self._init_said(attempt, p, fds), lambda: None)
        for name, captured in attempt.captured.items():

            def take(data: bytes, add: Callable[[bytes], None] = captured.add) -> None:
                add(data)
                attempt.clocks.alive(now_s())

            attempt.pipes[name] = Pipe(self._around.loop, take)
        return [link_theirs.detach(), ctl_theirs.detach(), *(pipe.give_writer() for pipe in attempt.pipes.values())]

    def _admit(self, attempt: LiveAttempt, listeners: dict[str, int]) -> None:
        copies = {name: os.dup(fd) for name, fd in listeners.items()}
        packet = launching.gateway_packet(self._around.settings, attempt)
        if self._around.holding:  # before its first call
            self._around.gateway.tell(self._around.holding.packet(self.all()))
        self._around.gateway.admit(attempt.key, Admission(packet=packet, listeners=copies))

    # --- reports ----------------------------------------------------------------------------------------------------

    def started(self, key: str, pid: int, pidfd: int) -> None:
        """The zygote made init; its pidfd tells us when the whole tree is gone."""
        attempt = self._live.get(key)
        if attempt is None or attempt.init_pid is not None:
            os.close(pidfd)
            return
        attempt.init_pid, attempt.pidfd = pid, pidfd
        if attempt.prepare_timer is not None:
            attempt.prepare_timer.cancel()
        self._around.loop.watch(pidfd, lambda: self._init_gone(attempt))

    def not_started(self, key: str, problem: str, *, transient: bool) -> None:
        """The zygote could not make an init; transient: another attempt may have more luck."""
        attempt = self._live.get(key)
        if attempt is not None:
            self._not_started(attempt, problem, transient=transient)

    def _not_started(self, attempt: LiveAttempt, problem: str, *, transient: bool) -> None:
        reason = Reason.WORKER_LOST if transient else Reason.POLICY
        self.end(attempt, Outcome(reason=reason, message=f"The attempt could not start: {problem}"), dump=False)

    def zygote_lost(self, agent: str) -> None:
        """A zygote died; attempts it had not started yet must not wait for ever (the started ones died with it)."""
        for attempt in self.all():
            if attempt.claim.task.agent == agent and attempt.init_pid is None and attempt.pipes:
                self.end(attempt, Outcome(reason=Reason.WORKER_LOST, message="its zygote died"), dump=False)

    def _said(self, attempt: LiveAttempt, packet: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        number = packet.get("id", 0)

        def reply(answer: Any) -> None:
            if number and attempt.link is not None:
                attempt.link.send({"id": number, **answer})

        self._conversations[attempt.key].take(packet, reply)

    def _init_said(self, attempt: LiveAttempt, packet: dict[str, Any], fds: list[int]) -> None:
        op = packet.get("op")
        if op == "up":
            self._up(attempt, packet, fds)
        elif op == "agent_exited":
            attempt.agent_gone, attempt.agent_status = True, packet.get("status")
            # What the agent said just before it left is still in its socket and is read first.
            self._around.loop.after(_LAST_WORDS_S, lambda: self._leaving.agent_left(attempt))
        elif op == "tool_exited":
            self._conversations[attempt.key].tools.ended(packet)
        elif op == "failed" and attempt.is_live:
            remedy = f"; {packet['remedy']}" if packet.get("remedy") else ""
            self._not_started(attempt, f"{packet.get('problem')}{remedy}", transient=False)
        for fd in fds:
            os.close(fd)

    def _up(self, attempt: LiveAttempt, packet: dict[str, Any], fds: list[int]) -> None:
        if not attempt.is_live:
            return
        attempt.phase = Phase.LIVE
        attempt.walls = dict(packet.get("walls") or {})
        if fds:
            self._admit(attempt, dict(zip(("gateway", "proxy"), fds, strict=False)))
        version = attempt.claim.agent_version or self._zygotes.version(attempt.claim.task.agent)
        started = attempt.event(
            "attempt_started",
            worker=self._around.worker_id(),
            pid=attempt.init_pid,
            isolation=attempt.walls,
            from_checkpoint=attempt.checkpoint,
            agent_version=version,
            start_ms=round((now_s() - attempt.clocks.started_s) * 1000, 1),
        )
        entry = attempt.entry(started, started=Started(isolation=attempt.walls, agent_version=version))
        self._around.journal.write(entry)

    def _init_gone(self, attempt: LiveAttempt) -> None:
        if attempt.pidfd is not None:
            self._around.loop.unwatch(attempt.pidfd)
        closing = self._closings.get(attempt.key)
        if closing is not None:
            closing.init_exited()
            return
        # Nobody asked for it: its last words first, then the end.
        self._around.loop.after(2 * _LAST_WORDS_S, lambda: self._vanished(attempt))

    def _vanished(self, attempt: LiveAttempt) -> None:
        if attempt.is_live and not attempt.agent_gone:
            message = "the attempt's processes were killed from outside"
            self.end(attempt, Outcome(reason=Reason.WORKER_LOST, message=message), dump=False)
        elif attempt.is_live:
            self._leaving.agent_left(attempt)
        closing = self._closings.get(attempt.key)
        if closing is not None:
            closing.init_exited()

    # --- clocks -----------------------------------------------------------------------------------------------------

    def rearm(self, attempt: LiveAttempt) -> None:
        """Set the attempt's timer to its first deadline; one that fires early (its deadline moved) is set again."""
        first = attempt.clocks.next()
        if not attempt.is_live or first is None:
            return
        if attempt.timer is not None and attempt.timer.callback is not None:
            if attempt.timer.at_s <= first.at_s:
                return
            attempt.timer.cancel()
        attempt.timer = self._around.loop.at(first.at_s, lambda: self._tick(attempt))

    def _tick(self, attempt: LiveAttempt) -> None:
        attempt.timer = None
        if not attempt.is_live:
            return
        now = now_s()
        due = attempt.clocks.due(now)
        if due is not None and due.level == "tool":
            self._conversations[attempt.key].tools.timed_out(due, now)
        elif due is not None:
            self.end(attempt, of_deadline(due, now), dump=True)
            return
        self.rearm(attempt)

    def freeze(self, why: str) -> None:
        """The lease may be gone and another worker may start the tasks: stop every tree where it stands."""
        for attempt in self.all():
            if self.parking.end(attempt, why):
                continue
            if attempt.is_live and attempt.clocks.frozen_since_s is None and attempt.init_pid is not None:
                attempt.clocks.freeze(now_s())
                killing.stop_tree(attempt.init_pid)
                log.warning("froze %s: %s", attempt.key, why)
                self._around.journal.write(attempt.entry(attempt.event("attempt_frozen", why=why)))

    def thaw(self) -> None:
        """The lease is ours still: go on."""
        for attempt in self.all():
            since = attempt.clocks.frozen_since_s
            if attempt.is_live and since is not None and attempt.init_pid is not None:
                killing.cont_tree(attempt.init_pid)
                attempt.clocks.thaw(now_s())
                self._around.journal.write(attempt.entry(attempt.event("attempt_thawed", frozen_s=round(now_s() - since, 3))))
                self.rearm(attempt)

    def flush_output(self) -> None:
        """Journal what the attempts wrote since the last time."""
        for attempt in self.all():
            if attempt.is_live:
                self.flush(attempt)

    def flush(self, attempt: LiveAttempt) -> None:
        """Journal what one wrote."""
        for pipe in attempt.pipes.values():
            pipe.read()
        events = Closing.last_output(attempt)
        if events:
            self._around.journal.write(attempt.entry(*events))

    # --- end --------------------------------------------------------------------------------------------------------

    def end(self, attempt: LiveAttempt, outcome: Outcome, *, dump: bool) -> None:
        """End an attempt, once."""
        if not attempt.is_live:
            return
        closing = Closing(attempt, outcome, self._around, dump=dump, gone=self._gone)
        self._closings[attempt.key] = closing
        closing.begin()

    def _gone(self, attempt: LiveAttempt) -> None:
        for by_key in (self._live, self._conversations, self._closings, self._slots):
            by_key.pop(attempt.key, None)
        self.parking.gone(attempt)
        self._around.hiding.forget(attempt.claim)
        self._freed()
