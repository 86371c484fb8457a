"""Parking: over budget, or stopped by an operator, an agent that cannot checkpoint waits with its call held, its clocks stopped
and its slot given away.

A decision (or the release of the hold) lets it go on or ends it; park_s, a drain or a doubtful lease end its processes, and its
task stays paused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tether.errors import TetherError
from tether.lifecycle import Reason
from tether.store.rows import Account, Intent, NewApproval, Park, Written
from tether.worker.attempt import LiveAttempt
from tether.worker.holding import stopped
from tether.worker.loop import Timer, now_s
from tether.worker.outcome import Outcome
from tether.worker.overspending import budget_question, overspent
from tether.worker.replaying import Repeated, repeated
from tether.worker.surroundings import Surroundings

__all__ = ["Parked", "Parking"]

_LEAVE_S = 1.0


@dataclass(kw_only=True, eq=False)
class Parked:
    """An attempt that waits. calls: ids of its held calls; asked: the approval's id once it is being written, "" without one.

    outcome: how it ends if it waits too long.
    """

    limit: str
    used: float
    allowed: float
    park_s: float
    outcome: Outcome
    calls: list[str] = field(default_factory=list[str])
    asked: str | None = None
    timer: Timer | None = None
    rejected: bool = False


class Parking:
    """Parks the attempts of one worker. slots: told how many slots were given away (taken back, when negative)."""

    def __init__(self, around: Surroundings, slots: Callable[[int], None]) -> None:
        self._around = around
        self._slots = slots
        self._parked: dict[str, Parked] = {}

    def of(self, attempt: LiveAttempt) -> Parked | None:
        """How the attempt is parked, if it is."""
        return self._parked.get(attempt.key)

    def begin(self, attempt: LiveAttempt, call_id: str, limit: str, used: float, allowed: float) -> bool:
        """Park the attempt, or one more call of it; False when it must be refused instead."""
        parked = self.of(attempt)
        if parked is not None:
            self._hold(attempt, parked, call_id)
            return not parked.rejected
        held = limit == "operator"
        if not (attempt.may_wait if held else attempt.may_park):
            return False
        outcome = stopped(attempt, self._around.holding.of(attempt)) if held else overspent(attempt, limit, used, allowed)
        attempt.parkings += 1
        attempt.clocks.freeze(now_s())
        park_s = min(attempt.agent.park_s, attempt.claim.timeouts.approval_s)
        parked = Parked(limit=limit, used=used, allowed=allowed, park_s=park_s, outcome=outcome, calls=[call_id])
        self._parked[attempt.key] = parked
        parked.timer = self._around.loop.after(park_s, partial(self._over, attempt))
        self._slots(1)
        if held:
            self._pause(attempt, parked, Park(reason=Reason.OPERATOR, message=outcome.message, hold=outcome.hold or ""))
            return True
        task_id = attempt.claim.task_id
        self._around.journal.ask(
            lambda store: (store.account(task_id), repeated(store, task_id)), partial(self._ask, attempt, parked)
        )
        return True

    def dropped(self, attempt: LiveAttempt, call_id: str) -> None:
        """The client of a held call left for good."""
        parked = self.of(attempt)
        if parked is not None and call_id in parked.calls:
            parked.calls.remove(call_id)
            self._around.journal.write(attempt.entry(attempt.event("call_unparked", call_id=call_id, outcome="dropped")))

    def decided(self, attempt: LiveAttempt, intent: Intent) -> None:
        """A human decided (unpark or reject); intents come again until they are carried out."""
        parked = self.of(attempt)
        if parked is None or parked.asked is None or parked.rejected:
            return
        if intent.kind == "reject":
            self._reject(attempt, parked, intent)
        else:
            self._release(attempt, parked)

    def end(self, attempt: LiveAttempt, why: str) -> bool:
        """End the processes of a parked attempt; its task stays paused. False when it is not parked."""
        parked = self.of(attempt)
        if parked is None:
            return False
        outcome = parked.outcome
        self._around.end(attempt, replace(outcome, message=f"{outcome.message} Its call was held no longer: {why}."), dump=True)
        return True

    def gone(self, attempt: LiveAttempt) -> None:
        """Its processes are gone: the slot it gave away is nobody's to give back."""
        if self._forget(attempt):
            self._slots(-1)

    def _ask(self, attempt: LiveAttempt, parked: Parked, found: tuple[Account, Repeated] | TetherError) -> None:
        if not attempt.is_live or self.of(attempt) is not parked:
            return
        account, again = (None, None) if isinstance(found, TetherError) else found
        question = budget_question(attempt, parked.limit, parked.used, parked.allowed, account, again)
        details = {**question.details, "park_s": parked.park_s}
        approval = NewApproval(kind=question.kind, question=question.text, details=details)
        self._pause(attempt, parked, Park(reason=Reason.BUDGET, message=parked.outcome.message), approval)

    def _pause(self, attempt: LiveAttempt, parked: Parked, park: Park, approval: NewApproval | None = None) -> None:
        parked.asked, attempt.parked = approval.id if approval else "", True
        events = [self._event(attempt, parked, call_id) for call_id in parked.calls]
        entry = attempt.entry(*events, approval=approval, park=park)
        self._around.journal.write(entry, partial(self._written, attempt))

    def _event(self, attempt: LiveAttempt, parked: Parked, call_id: str) -> Any:
        return attempt.event("call_parked", call_id=call_id, approval=parked.asked or None, park_s=parked.park_s)

    def _hold(self, attempt: LiveAttempt, parked: Parked, call_id: str) -> None:
        if parked.rejected:
            self._around.gateway.tell({"op": "reject", "key": attempt.key})
            return
        parked.calls.append(call_id)
        if parked.asked is not None:
            self._around.journal.write(attempt.entry(self._event(attempt, parked, call_id)))

    def _written(self, attempt: LiveAttempt, written: Written) -> None:
        if written or not attempt.is_live:
            return
        message = str(written.problem) if written.problem else "the lease is gone"
        self._around.end(attempt, Outcome(reason=Reason.WORKER_LOST, message=message), dump=False)

    def _release(self, attempt: LiveAttempt, parked: Parked) -> None:
        """The task runs again once that is durable; then its calls are tried again."""
        events = [attempt.event("call_unparked", call_id=call_id, outcome="released") for call_id in parked.calls]
        self._forget(attempt)
        self._slots(-1)
        attempt.parked = False
        self._around.journal.write(attempt.entry(*events, unpark=True), partial(self._released, attempt))

    def _released(self, attempt: LiveAttempt, written: Written) -> None:
        if not attempt.is_live:
            return
        if not written:
            self._written(attempt, written)
            return
        attempt.clocks.thaw(now_s())
        self._around.rearm(attempt)
        self._around.gateway.tell({"op": "resume", "key": attempt.key})

    def _reject(self, attempt: LiveAttempt, parked: Parked, intent: Intent) -> None:
        """The agent is told, and gets a moment to write down what it has."""
        parked.rejected = True
        by = f" by {intent.by}" if intent.by else ""
        outcome = Outcome(reason=Reason.REJECTED, message=intent.note or f"More budget was rejected{by}.")
        attempt.stop_wanted = outcome
        self._around.gateway.tell({"op": "reject", "key": attempt.key, "why": intent.note})
        attempt.stop_timer = self._around.loop.after(_LEAVE_S, lambda: self._around.end(attempt, outcome, dump=True))

    def _over(self, attempt: LiveAttempt) -> None:
        parked = self.of(attempt)
        if parked is not None and not parked.rejected:
            self.end(attempt, f"it waited {parked.park_s:g} s (park_s)")

    def _forget(self, attempt: LiveAttempt) -> bool:
        parked = self._parked.pop(attempt.key, None)
        if parked is not None and parked.timer is not None:
            parked.timer.cancel()
        return parked is not None
