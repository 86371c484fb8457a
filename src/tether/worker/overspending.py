"""A used-up budget as a question to a human: what was spent and on what, what is done so far, what more would buy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tether.lifecycle import Reason
from tether.store.rows import Account
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome, Question
from tether.worker.replaying import Repeated

__all__ = ["budget_question", "overspent", "projection"]

_MORE = {"max_usd": 5.0, "max_tokens": 1_000_000.0}
_UNITS = {
    "max_llm_calls": ("llm_calls", "model calls"),
    "max_usd": ("usd", "dollars"),
    "max_tokens": ("tokens", "tokens"),
    "max_web_requests": ("web_requests", "web requests"),
    "max_tool_calls": ("tool_calls", "tool calls"),
    "max_steps": ("steps", "steps"),
}


def overspent(attempt: LiveAttempt, limit: str, used: float, allowed: float) -> Outcome:
    """How the attempt ends for its budget: with a question, where the task says to pause and the agent may be started again."""
    message = f"The budget is used up: {limit} {used:g} of {allowed:g}."
    lost = not attempt.can_checkpoint and attempt.agent.replay == "off"
    if attempt.claim.task.on_budget_exceeded != "checkpoint_and_pause" or lost:
        return Outcome(reason=Reason.BUDGET, message=message, for_good=True)
    return Outcome(reason=Reason.BUDGET, message=message, question=budget_question(attempt, limit, used, allowed))


def budget_question(
    attempt: LiveAttempt,
    limit: str,
    used: float,
    allowed: float,
    account: Account | None = None,
    again: Repeated | None = None,
) -> Question:
    """The question to a human. account: on what it was spent; again: what would be repeated if it had to start again."""
    usage = attempt.usage()
    details: dict[str, Any] = {
        "limit": limit,
        "used": used,
        "allowed": allowed,
        "spent": usage,
        "spent_on": {**(account.document() if account else {}), "tools": dict(attempt.tool_counts)},
        "budget": attempt.counters.budget().document(),
        "step": attempt.step,
        "last_thought": attempt.thought,
        "plan": list(attempt.plan),
        "partial": attempt.partial,
        "more": projection(limit, usage),
    }
    if again is not None:
        details["replay"] = again.details(attempt.claim.attempt)
    text = f"The budget is used up: {limit} {used:g} of {allowed:g}. Approve more, or reject to end with what there is."
    return Question(kind=ApprovalKind.BUDGET, text=text, details=details)


def projection(limit: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    """What a round amount more would buy, at the averages so far; text: one sentence for a human."""
    name, unit = _UNITS.get(limit, (limit, limit))
    more, steps, used = _MORE.get(limit, 50.0), usage.get("steps") or 0, usage.get(name) or 0
    if not used or not steps or limit == "max_steps":
        calls = usage.get("llm_calls") or 0
        each = (usage.get("usd") or 0) / calls if calls else 0.0
        return {"add": {limit: more}, "text": f"A model call cost ${each:.4f} on average." if calls else "Nothing was spent yet."}
    bought = more * steps / used
    cost = (usage.get("usd") or 0) * more / used
    text = f"{more:g} more {unit} are about {bought:.0f} more steps"
    text += "." if limit == "max_usd" else f" and ${cost:.2f}."
    return {"add": {limit: more}, "steps": round(bought, 1), "usd": round(cost, 4), "text": text + " (at the averages so far)"}
