"""The life of a task: six states, closed reasons, and the one table of changes between them.

No other module writes a state: the store calls `apply` inside its transaction and stores what comes back.
The diagram in docs/reference/lifecycle.md is generated from TRANSITIONS (`diagram()`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tether.errors import IllegalTransition

__all__ = [
    "AGENT_FAULTS",
    "FINAL",
    "RETRYABLE",
    "SETTLED",
    "TRANSITIONS",
    "Change",
    "Reason",
    "State",
    "Transition",
    "apply",
    "diagram",
]


class State(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a task (or an attempt) stands where it stands; closed."""

    COMPLETED = "completed"
    TOOL_TIMEOUT = "tool_timeout"
    STEP_TIMEOUT = "step_timeout"
    TASK_TIMEOUT = "task_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    BUDGET = "budget"
    APPROVAL = "approval"
    QUESTION = "question"
    ESCALATED = "escalated"
    STUCK = "stuck"
    AGENT_ERROR = "agent_error"
    UPSTREAM_ERROR = "upstream_error"
    CONTEXT_EXCEEDED = "context_exceeded"
    RESOURCE_LIMIT = "resource_limit"
    INVALID_RESULT = "invalid_result"
    POLICY = "policy"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    OPERATOR = "operator"
    CANCELLED = "cancelled"


class Change(StrEnum):
    """What can happen to a task; each is one row or more of TRANSITIONS."""

    CLAIM = "claim"
    FINISH = "finish"
    FAIL = "fail"
    REQUEUE = "requeue"
    PAUSE = "pause"
    UNPARK = "unpark"
    RESUME = "resume"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REJECT = "reject"
    RETRY = "retry"
    ESCALATE = "escalate"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
SETTLED = FINAL | {State.PAUSED}

#: Reasons that count against the agent in completion figures.
AGENT_FAULTS = frozenset(
    {
        Reason.AGENT_ERROR,
        Reason.INVALID_RESULT,
        Reason.STUCK,
        Reason.CONTEXT_EXCEEDED,
        Reason.TOOL_TIMEOUT,
        Reason.STEP_TIMEOUT,
        Reason.TASK_TIMEOUT,
        Reason.IDLE_TIMEOUT,
    }
)

#: An attempt that ended for one of these is tried again from the last checkpoint while attempts are left.
RETRYABLE = frozenset(
    {
        Reason.TOOL_TIMEOUT,
        Reason.STEP_TIMEOUT,
        Reason.IDLE_TIMEOUT,
        Reason.AGENT_ERROR,
        Reason.UPSTREAM_ERROR,
        Reason.RESOURCE_LIMIT,
        Reason.WORKER_LOST,
    }
)

_HUMAN = frozenset({Reason.BUDGET, Reason.APPROVAL, Reason.QUESTION, Reason.ESCALATED, Reason.STUCK, Reason.OPERATOR})
_ENDINGS = AGENT_FAULTS | {
    Reason.BUDGET,
    Reason.UPSTREAM_ERROR,
    Reason.RESOURCE_LIMIT,
    Reason.POLICY,
    Reason.REJECTED,
    Reason.WORKER_LOST,
}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One row: `change` takes a task from `before` to `after`; the new reason must be one of `reasons` (empty: none)."""

    before: State
    change: Change
    after: State
    reasons: frozenset[Reason] = frozenset()


def _rows() -> tuple[Transition, ...]:
    queued, running, paused = State.QUEUED, State.RUNNING, State.PAUSED
    succeeded, failed, cancelled = State.SUCCEEDED, State.FAILED, State.CANCELLED

    def row(before: State, change: Change, after: State, *reasons: Reason) -> Transition:
        return Transition(before=before, change=change, after=after, reasons=frozenset(reasons))

    return (
        row(queued, Change.CLAIM, running),
        row(running, Change.FINISH, succeeded, Reason.COMPLETED),
        row(running, Change.FAIL, failed, *_ENDINGS),
        row(running, Change.REQUEUE, queued, *RETRYABLE, Reason.OPERATOR),
        row(running, Change.PAUSE, paused, *_HUMAN),
        row(queued, Change.PAUSE, paused, *_HUMAN),
        row(paused, Change.UNPARK, running),
        row(paused, Change.RESUME, queued),
        row(queued, Change.CANCEL, cancelled, Reason.CANCELLED),
        row(running, Change.CANCEL, cancelled, Reason.CANCELLED),
        row(paused, Change.CANCEL, cancelled, Reason.CANCELLED),
        row(queued, Change.EXPIRE, failed, Reason.EXPIRED, Reason.TASK_TIMEOUT),
        row(paused, Change.EXPIRE, failed, Reason.EXPIRED),
        row(paused, Change.REJECT, failed, Reason.REJECTED),
        row(failed, Change.RETRY, queued),
        row(cancelled, Change.RETRY, queued),
        row(queued, Change.ESCALATE, paused, Reason.ESCALATED),
        row(paused, Change.ESCALATE, paused, Reason.ESCALATED),
        row(failed, Change.ESCALATE, paused, Reason.ESCALATED),
        row(running, Change.ESCALATE, paused, Reason.ESCALATED),
    )


TRANSITIONS: dict[tuple[State, Change], Transition] = {(row.before, row.change): row for row in _rows()}

_HINTS: dict[tuple[State, Change], str] = {
    (State.SUCCEEDED, Change.RETRY): "submit the task again for another result",
    (State.RUNNING, Change.RESUME): "it is running already",
    (State.QUEUED, Change.RESUME): "it waits for a free worker already",
    (State.RUNNING, Change.RETRY): "cancel it first",
    (State.PAUSED, Change.RETRY): "use resume, approve or answer",
    (State.QUEUED, Change.RETRY): "it is queued already",
}


def apply(state: State, change: Change, reason: Reason | None = None) -> State:
    """Return the state that `change` leads to; raises IllegalTransition for a pair or reason the table does not have."""
    transition = TRANSITIONS.get((state, change))
    if transition is None:
        raise IllegalTransition(state, change, reason, _HINTS.get((state, change), ""))
    if (reason is None) != (not transition.reasons) or (reason is not None and reason not in transition.reasons):
        raise IllegalTransition(state, change, reason or "no reason")
    return transition.after


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    lines += [f"    {t.before} --> {t.after}: {t.change}" for t in TRANSITIONS.values()]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines)
