"""How an attempt ended and what follows for its task; pure decisions, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tether.lifecycle import RETRYABLE, Change, Reason
from tether.worker.clocks import Deadline

__all__ = ["Outcome", "Question", "Verdict", "decide", "decide_parked", "of_deadline"]

_LONGEST_BACKOFF_S = 300.0
_LOST_BACKOFF_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a human is to be asked when the task pauses. kind: see task.ApprovalKind; key: the agent's own."""

    kind: str
    text: str
    key: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    reason: the closed code. message: plain words for the user. result: set when `has_result`. exit: exit code, minus the
    signal, or None. deadline: the one that passed, `late_s` after it was due. question: makes the task pause.
    pause: the task is to wait for a human. hand_back: the attempt did nothing wrong and is tried again at once.
    for_good: no other attempt may follow. hold: id of the hold on calls it pauses for.
    """

    reason: Reason
    message: str = ""
    has_result: bool = False
    result: Any = None
    exit: int | None = None
    deadline: Deadline | None = None
    late_s: float = 0.0
    question: Question | None = None
    pause: bool = False
    hand_back: bool = False
    for_good: bool = False
    hold: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows: the change of the task, how long it waits before the next attempt (s), whether an attempt is used up.

    change: None when a parked task stays paused. unpark: the task runs again for its change.
    """

    change: Change | None
    delay_s: float = 0.0
    consumes_attempt: bool = False
    attempt_state: str = "failed"
    unpark: bool = False


def decide_parked(outcome: Outcome) -> Verdict:
    """What follows for a task that is paused while its attempt ends: a decision or a result counts, all else can wait."""
    if outcome.reason is Reason.COMPLETED:
        return Verdict(change=Change.FINISH, attempt_state="succeeded", unpark=True)
    if outcome.reason is Reason.CANCELLED:
        return Verdict(change=Change.CANCEL, attempt_state="cancelled")
    if outcome.reason is Reason.REJECTED:
        return Verdict(change=Change.REJECT, attempt_state="failed")
    if outcome.for_good:
        return Verdict(change=Change.FAIL, consumes_attempt=True, unpark=True)
    return Verdict(change=None, attempt_state="paused")


def decide(outcome: Outcome, *, failures: int, max_attempts: int, backoff_s: float) -> Verdict:
    """What follows for a task with `failures` failed attempts of `max_attempts`; back-off doubles from `backoff_s`."""
    reason = outcome.reason
    if reason is Reason.COMPLETED:
        return Verdict(change=Change.FINISH, attempt_state="succeeded")
    if reason is Reason.CANCELLED:
        return Verdict(change=Change.CANCEL, attempt_state="cancelled")
    if outcome.pause or outcome.question is not None:
        return Verdict(change=Change.PAUSE, attempt_state="paused")
    if outcome.for_good:
        return Verdict(change=Change.FAIL, consumes_attempt=True)
    if outcome.hand_back:
        return Verdict(change=Change.REQUEUE, attempt_state="cancelled")
    if reason is Reason.WORKER_LOST:
        return Verdict(change=Change.REQUEUE, delay_s=_LOST_BACKOFF_S)
    if reason in RETRYABLE and failures + 1 < max_attempts:
        delay_s = min(backoff_s * 2**failures, _LONGEST_BACKOFF_S)
        return Verdict(change=Change.REQUEUE, delay_s=delay_s, consumes_attempt=True)
    return Verdict(change=Change.FAIL, consumes_attempt=True)


_LEVELS = {
    "tool": (Reason.TOOL_TIMEOUT, "tool_s", "a tool call"),
    "step": (Reason.STEP_TIMEOUT, "step_s", "one step"),
    "task": (Reason.TASK_TIMEOUT, "task_s", "the task"),
    "idle": (Reason.IDLE_TIMEOUT, "idle_s", "the agent without a sign of life"),
}


def of_deadline(deadline: Deadline, now_s: float) -> Outcome:
    """The outcome of a deadline that has passed."""
    reason, key, what = _LEVELS[deadline.level]
    message = f"{what} took longer than {deadline.limit_s:g} s ({key})"
    return Outcome(reason=reason, message=message, deadline=deadline, late_s=max(0.0, now_s - deadline.at_s))
