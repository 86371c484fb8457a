"""What a user reads about a task: one plain sentence on what happened, one on what can be done; pure.

Every state and reason of the lifecycle table has its text here (a test holds that true).
"""

from __future__ import annotations

from dataclasses import dataclass

from tether.lifecycle import Reason, State
from tether.task import Approval, Budget, Timeouts, Usage, rfc3339, usd_from_nano

__all__ = ["Facts", "brief", "message"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The figures the texts are filled with. detail: the words of whoever ended or paused it, may be empty."""

    detail: str = ""
    budget: Budget
    usage: Usage
    timeouts: Timeouts
    attempt: int = 0
    failures: int = 0
    max_attempts: int = 1
    ready_at_ms: int | None = None
    approval: Approval | None = None
    has_partial: bool = False
    has_checkpoint: bool = False
    wanted: tuple[str, ...] = ()


_WHAT: dict[Reason, str] = {
    Reason.COMPLETED: "Done: {steps} and {calls} for ${usd:.2f}.",
    Reason.TOOL_TIMEOUT: "A tool did not return within its time limit ({tool_s:g} s by default).",
    Reason.STEP_TIMEOUT: "One step took longer than {step_s:g} s.",
    Reason.TASK_TIMEOUT: "The task was active for longer than {task_s:g} s.",
    Reason.IDLE_TIMEOUT: "The agent gave no sign of life for {idle_s:g} s.",
    Reason.BUDGET: "The budget is used up: {spent}.",
    Reason.APPROVAL: "The agent needs an approval: {question}",
    Reason.QUESTION: "The agent asks: {question}",
    Reason.ESCALATED: "A human was asked to take over.",
    Reason.STUCK: "The agent repeats itself without getting on.",
    Reason.AGENT_ERROR: "The agent ended with an error.",
    Reason.UPSTREAM_ERROR: "The model service could not be used.",
    Reason.CONTEXT_EXCEEDED: "The conversation no longer fits the model's context window.",
    Reason.RESOURCE_LIMIT: "The agent needed more memory, time or space of the machine than allowed.",
    Reason.INVALID_RESULT: "The result does not match the schema that was asked for.",
    Reason.POLICY: "The agent tried something that is not allowed for this task.",
    Reason.REJECTED: "A human decided not to go on.",
    Reason.EXPIRED: "Nobody acted in time.",
    Reason.WORKER_LOST: "The machine that worked on it was lost.",
    Reason.OPERATOR: "An operator stopped it.",
    Reason.CANCELLED: "It was cancelled.",
}

_NEXT_PAUSED: dict[Reason, str] = {
    Reason.BUDGET: "Approve more to go on from where it stands, or reject to end with what there is.",
    Reason.APPROVAL: "Approve to go on, or reject to end it.",
    Reason.QUESTION: "Answer to go on.",
    Reason.ESCALATED: "Approve to let the agent go on, or reject to end it.",
    Reason.STUCK: "Approve to let it try further, or reject to end with what there is.",
    Reason.OPERATOR: "Resume it when you want it to go on.",
}

_QUEUED_NEW = "Waiting for a free worker."
_RUNNING = "Working: {steps} and {calls} so far, ${usd:.2f} spent."
_WANTED = {
    "pause": "It pauses at the next step.",
    "cancel": "It is being cancelled.",
    "escalate": "It is being handed to a human.",
}


def message(state: str, reason: str | None, facts: Facts) -> str:
    """The whole message for a task that stands like this."""
    parts = _PARTS[State(state)](Reason(reason) if reason else None, facts)
    return " ".join(part for part in parts if part)


def brief(reason: str | None, detail: str = "") -> str:
    """One sentence on the reason without figures, for events; `detail` where somebody said more."""
    if detail:
        return detail
    if reason is None:
        return ""
    known = Reason(reason)
    return _BRIEF.get(known) or _WHAT[known]


#: Where the full text has figures.
_BRIEF = {
    Reason.BUDGET: "The budget is used up.",
    Reason.COMPLETED: "Done.",
    Reason.TOOL_TIMEOUT: "A tool did not return within its time limit.",
    Reason.STEP_TIMEOUT: "A step took longer than allowed.",
    Reason.TASK_TIMEOUT: "The task was active for longer than allowed.",
    Reason.IDLE_TIMEOUT: "The agent gave no sign of life for too long.",
    Reason.APPROVAL: "The agent needs an approval.",
    Reason.QUESTION: "The agent asks a question.",
}


def _what(reason: Reason, facts: Facts) -> str:
    if facts.detail:
        return facts.detail if facts.detail.endswith((".", "!", "?", "…")) else f"{facts.detail}."
    usage, timeouts = facts.usage, facts.timeouts
    return _WHAT[reason].format(
        steps=_counted(usage.steps, "step"),
        calls=_counted(usage.llm_calls, "model call"),
        usd=usd_from_nano(usage.nanousd),
        tool_s=timeouts.tool_s,
        step_s=timeouts.step_s,
        task_s=timeouts.task_s,
        idle_s=timeouts.idle_s,
        spent=_spent(facts),
        question=facts.approval.question if facts.approval else "see its approval.",
    )


def _counted(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def _spent(facts: Facts) -> str:
    budget, usage = facts.budget, facts.usage
    used = [
        (usage.llm_calls, budget.max_llm_calls, "model calls"),
        (usage.web_requests, budget.max_web_requests, "web requests"),
        (usage.steps, budget.max_steps, "steps"),
        (usage.tool_calls, budget.max_tool_calls, "tool calls"),
        (usage.tokens, budget.max_tokens, "tokens"),
    ]
    full = [f"{n:,} of {most:,} {what}" for n, most, what in used if n >= most]
    return ", ".join([*full, f"${usd_from_nano(usage.nanousd):.2f} of ${budget.max_usd:.2f} spent"])


def _queued(reason: Reason | None, facts: Facts) -> tuple[str, ...]:
    if facts.ready_at_ms is not None:
        waiting = (
            f"It goes on at {rfc3339(facts.ready_at_ms)}." if facts.attempt else f"It starts at {rfc3339(facts.ready_at_ms)}."
        )
    else:
        waiting = _QUEUED_NEW if not facts.attempt else "Waiting for a free worker to go on."
    if reason is None:
        return (waiting,)
    tries = f"{facts.failures} of {facts.max_attempts} attempts failed so far." if facts.failures else ""
    return (_what(reason, facts), tries, waiting)


def _running(reason: Reason | None, facts: Facts) -> tuple[str, ...]:  # noqa: ARG001
    usage = facts.usage
    working = _RUNNING.format(
        steps=_counted(usage.steps, "step"), calls=_counted(usage.llm_calls, "model call"), usd=usd_from_nano(usage.nanousd)
    )
    return (working, *(_WANTED[kind] for kind in facts.wanted if kind in _WANTED))


def _paused(reason: Reason | None, facts: Facts) -> tuple[str, ...]:
    if reason is None:
        return ("Paused.",)
    return ("Paused.", _what(reason, facts), _NEXT_PAUSED.get(reason, ""))


def _succeeded(reason: Reason | None, facts: Facts) -> tuple[str, ...]:
    return (_what(reason or Reason.COMPLETED, facts),)


def _failed(reason: Reason | None, facts: Facts) -> tuple[str, ...]:
    kept = "What was accomplished is kept as the partial result." if facts.has_partial else ""
    again = "Retry goes on from the last checkpoint." if facts.has_checkpoint else "Retry starts it again."
    return (_what(reason, facts) if reason else "It failed.", kept, again)


def _cancelled(reason: Reason | None, facts: Facts) -> tuple[str, ...]:
    kept = "What was accomplished is kept as the partial result." if facts.has_partial else ""
    return (_what(reason or Reason.CANCELLED, facts), kept)


_PARTS = {
    State.QUEUED: _queued,
    State.RUNNING: _running,
    State.PAUSED: _paused,
    State.SUCCEEDED: _succeeded,
    State.FAILED: _failed,
    State.CANCELLED: _cancelled,
}
