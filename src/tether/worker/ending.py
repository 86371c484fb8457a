"""How an attempt is ended: revoke → stacks → SIGSTOP → durable dump → SIGKILL → gone → journal; every wait is bounded.

Each step is a short method in the loop; the dump's fsync is done by a thread, while the frozen tree can do nothing any more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tether.events import NewEvent, redact
from tether.lifecycle import Reason
from tether.store.rows import UNSET, Ending, NewApproval, NewArtifact, Unset, Written
from tether.worker import killing
from tether.worker.attempt import LiveAttempt, Phase
from tether.worker.leftovers import partial_of
from tether.worker.loop import now_s
from tether.worker.outcome import Outcome, Verdict, decide, decide_parked
from tether.worker.replaying import forget_after
from tether.worker.surroundings import Surroundings

__all__ = ["Closing"]

log = logging.getLogger("tether.worker")
_STACKS_S = 0.8
_STACKS_LOOK_S = 0.004
_DUMP_S = 2.0
_SECOND_KILL_S = 0.25
_TAIL_CHARS = 16_000
_STACK_CHARS = 60_000


class Closing:
    """The ending of one attempt; `gone` is called once its tree is dead and its journal entry is durable."""

    def __init__(
        self, attempt: LiveAttempt, outcome: Outcome, around: Surroundings, *, dump: bool, gone: Callable[[LiveAttempt], None]
    ) -> None:
        self._attempt = attempt
        self._outcome = outcome
        self._around = around
        self._dump = dump
        self._gone = gone
        self._began_s = now_s()
        self._asked: list[int] = []
        self._stacks_bytes = 0
        self._record: dict[str, Any] | None = None
        self._dump_ms: float | None = None
        self._partial: Any | Unset = UNSET
        self._unsaved: str | None = None
        self._spooled: Path | None = None
        self._killing = False
        self._kills = 0
        self._dead = False
        self._notes: list[str] = []
        self._ended_s = 0.0

    def begin(self) -> None:
        """Step 1: nothing may be spent any more; ask for the stacks."""
        attempt = self._attempt
        attempt.phase = Phase.ENDING
        for timer in (attempt.timer, attempt.prepare_timer, attempt.stop_timer):
            if timer is not None:
                timer.cancel()
        self._around.gateway.revoke(attempt.key, self._outcome.reason)
        if self._dump and attempt.init_pid is not None and not attempt.agent_gone:
            self._asked = killing.ask_stacks(attempt.init_pid)
            if not self._asked:
                self._notes.append("no Python process with stacks to ask for")
            self._await_stacks()
        else:
            self._kill()

    def init_exited(self) -> None:
        """The pidfd became readable: init, and with it the whole namespace, is dead."""
        if self._dead:
            return
        self._dead = True
        self._ended_s = now_s()
        for pipe in self._attempt.pipes.values():
            pipe.read()
        self._attempt.phase = Phase.GONE
        self._around.offload(self._collect, self._finish)

    def _collect(self) -> tuple[NewArtifact, ...]:
        """In a thread: what is kept of the workspace."""
        self._partial = partial_of(self._around.settings, self._attempt, self._outcome.reason)
        if self._outcome.reason not in (Reason.COMPLETED, Reason.WORKER_LOST):  # without the lease nothing of it is ours to save
            self._unsaved = self._around.keeper.left(self._attempt.claim, self._attempt.checkpoint)
        return self._around.keeper.artifacts(self._attempt.claim)

    # --- dump -------------------------------------------------------------------------------------------------------

    def _await_stacks(self) -> None:
        """Step 2: wait until the stacks stopped growing, at most 0.8 s (on a starved machine)."""
        for name in ("stacks", "astacks"):  # now: in a busy loop this timer may come before their turn to be read
            self._attempt.pipes[name].read()
        size = sum(self._attempt.captured[name].total_bytes for name in ("stacks", "astacks"))
        settled = size > 0 and size == self._stacks_bytes
        self._stacks_bytes = size
        if settled or not self._asked or now_s() - self._began_s > _STACKS_S:
            if self._asked and not size:
                self._notes.append("the process did not answer with its stacks in time")
            self._stop()
        else:
            self._around.loop.after(_STACKS_LOOK_S, self._await_stacks)

    def _stop(self) -> None:
        """Step 3: freeze the tree, read its facts, and make the dump durable in a thread."""
        attempt = self._attempt
        if self._dead or attempt.init_pid is None:
            return
        killing.stop_tree(attempt.init_pid)
        self._record = self._dumped()
        self._around.loop.after(_DUMP_S, self._dump_is_late)
        events = [{"type": e.type, "data": dict(e.data), "attempt": e.attempt, "step": e.step} for e in self._why()]
        shown = {"task_id": attempt.claim.task_id, "attempt": attempt.claim.attempt, "events": redact(events)}
        record = self._around.hiding.masked_record(attempt.claim.task_id, shown)
        spool, claim = self._around.spool, attempt.claim
        self._around.offload(lambda: spool.write(claim.task_id, claim.attempt, record), self._durable)

    def _durable(self, answer: Path | Exception) -> None:
        """Step 4: the dump is on disk (or cannot be): kill."""
        if isinstance(answer, Exception):
            log.error("the dump of %s is not durable: %s", self._attempt.key, answer)
            self._notes.append(f"the dump could not be made durable before the kill: {answer}")
        else:
            self._spooled = answer
            self._dump_ms = round((now_s() - self._began_s) * 1000, 1)
        self._kill()

    def _dump_is_late(self) -> None:
        if not self._killing and not self._dead:
            self._notes.append(f"the disk took more than {_DUMP_S:g} s; killed before the dump was durable")
            self._kill()

    def _dumped(self) -> dict[str, Any]:
        attempt = self._attempt
        in_flight = [{"call": call_id, **call} for call_id, call in attempt.calls.items()]
        in_flight += [{"tool": t.name, "call_id": t.call_id, "args": t.args} for t in attempt.tools.values()]
        tail = "\n".join(attempt.captured[name].tail(_TAIL_CHARS) for name in ("stdout", "stderr")).strip()
        return {
            "trigger": self._outcome.reason.value,
            "stacks": attempt.captured["stacks"].tail(_STACK_CHARS) or None,
            "async_stacks": attempt.captured["astacks"].tail(_STACK_CHARS) or None,
            "processes": killing.process_facts(attempt.init_pid) if attempt.init_pid else [],
            "output_tail": tail,
            "in_flight": in_flight,
            "checkpoint": attempt.checkpoint,
            "messages": attempt.messages,
            "usage": dict(attempt.usage()),
            "took_ms": round((now_s() - self._began_s) * 1000, 1),
            "notes": self._notes,
        }

    # --- kill -------------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        """Step 5: SIGKILL, and again every 250 ms until the tree is gone."""
        self._killing = True
        attempt = self._attempt
        if self._dead:
            return
        if attempt.init_pid is None or attempt.pidfd is None:
            # It never started: the zygote was told nothing yet or failed.
            self.init_exited()
            return
        killing.kill_tree(attempt.pidfd, attempt.init_pid)
        self._kills += 1
        if self._kills in (4, 40):
            log.error("%s is still there after %d kills", attempt.key, self._kills)
        self._around.loop.after(_SECOND_KILL_S, self._kill)

    # --- journal ----------------------------------------------------------------------------------------------------

    def _finish(self, files: tuple[NewArtifact, ...] | Exception) -> None:
        """Step 6: one entry with everything; the slot is free once it is durable."""
        attempt, ended_s = self._attempt, self._ended_s
        if isinstance(files, Exception):
            log.warning("the files of %s cannot be listed: %s", attempt.key, files)
            files = ()
        if self._record is None and self._dump:
            self._record = self._dumped()
        unsaved = [attempt.event("agent_log", level="warning", text=self._unsaved)] if self._unsaved else []
        events = [*self.last_output(attempt), *self._why(), *unsaved, self._ended(ended_s)]
        verdict = self._verdict()
        self._around.journal.write(
            attempt.entry(
                *events,
                artifacts=files,
                partial=self._partial,
                unpark=verdict.unpark,
                ending=self._ending(verdict),
                approval=self._approval(),
                active_s=attempt.clocks.active_s(ended_s),
            ),
            self._written,
        )
        attempt.release()

    def _written(self, written: Written) -> None:
        if not written:
            log.warning("the end of %s was not taken: %s", self._attempt.key, written.problem or "the lease was gone")
        if self._spooled is not None:
            # In a thread: on a busy disk even this waits for tens of milliseconds.
            spool, spooled = self._around.spool, self._spooled
            self._around.offload(lambda: spool.remove(spooled), lambda _: None)
        if forget_after(self._attempt, self._outcome.reason):
            task_id = self._attempt.claim.task_id
            self._around.journal.ask(lambda store: store.forget_recordings(task_id))
        self._gone(self._attempt)

    def _why(self) -> list[NewEvent]:
        """The events that go with the kill: the deadline that passed, and the dump."""
        events: list[NewEvent] = []
        outcome, attempt = self._outcome, self._attempt
        if outcome.deadline is not None:
            events.append(
                attempt.event(
                    "timeout_fired",
                    level=outcome.deadline.level,
                    limit_s=outcome.deadline.limit_s,
                    what=outcome.deadline.what or _busy_with(attempt),
                    late_ms=round(outcome.late_s * 1000, 1),
                )
            )
        if self._record is not None:
            events.append(attempt.event("state_dumped", **self._record))
        return events

    def _ended(self, ended_s: float) -> NewEvent:
        outcome, attempt = self._outcome, self._attempt
        overshoot_ms = None
        if outcome.deadline is not None:
            overshoot_ms = round((ended_s - outcome.deadline.at_s) * 1000, 1)
        return attempt.event(
            "attempt_ended",
            reason=outcome.reason.value,
            exit=exit_code(attempt.agent_status) if outcome.exit is None else outcome.exit,
            message=outcome.message,
            active_s=round(attempt.clocks.active_s(ended_s), 3),
            overshoot_ms=overshoot_ms,
            dump_ms=self._dump_ms,
            killed=self._kills > 0 and not attempt.agent_gone,
        )

    def _verdict(self) -> Verdict:
        attempt = self._attempt
        if attempt.parked:
            return decide_parked(self._outcome)
        return decide(
            self._outcome,
            failures=attempt.claim.failures,
            max_attempts=attempt.claim.task.max_attempts,
            backoff_s=self._around.settings.worker.retry_backoff_s,
        )

    def _ending(self, verdict: Verdict) -> Ending:
        outcome = self._outcome
        return Ending(
            change=verdict.change,
            reason=outcome.reason,
            attempt_state=verdict.attempt_state,
            message=outcome.message,
            result=outcome.result if outcome.has_result else UNSET,
            not_before_delay_s=verdict.delay_s,
            consumes_attempt=verdict.consumes_attempt,
            hold=outcome.hold,
        )

    def _approval(self) -> NewApproval | None:
        question = self._outcome.question
        if question is None or self._attempt.parked:  # it was asked when it was parked
            return None
        return NewApproval(kind=question.kind, question=question.text, key=question.key, details=question.details)

    @staticmethod
    def last_output(attempt: LiveAttempt) -> list[NewEvent]:
        """What the attempt wrote and the journal does not have yet."""
        events: list[NewEvent] = []
        for name in ("stdout", "stderr"):
            captured = attempt.captured[name]
            if captured.has_news():
                events.append(attempt.event("output", stream=name, text=captured.fresh(), dropped=captured.dropped_bytes))
        return events


def _busy_with(attempt: LiveAttempt) -> str:
    """What was going on, in a few words."""
    doing = [tool.name for tool in attempt.tools.values()] + ["a model call" for _ in attempt.calls]
    place = f"step {attempt.step}" if attempt.step_open else "no step"
    return f"{place} ({', '.join(doing)})" if doing else place


def exit_code(status: int | None) -> int | None:
    """Exit code, or minus the signal, of a wait status."""
    return None if status is None else os.waitstatus_to_exitcode(status)
