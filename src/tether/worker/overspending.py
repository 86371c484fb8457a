"""A used-up budget as a question to a human: what was spent and on what, what is done so far, what more would buy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tether.lifecycle import Reason
from tether.store.rows import Account
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome, Question

__all__ = ["overspent", "projection"]

_MORE = {"max_usd": 5.0, "max_tokens": 1_000_000.0}
_UNITS = {
    "max_llm_calls": ("llm_calls", "model calls"),
    "max_usd": ("usd", "dollars"),
    "max_tokens": ("tokens", "tokens"),
    "max_web_requests": ("web_requests", "web requests"),
    "max_tool_calls": ("tool_calls", "tool calls"),
    "max_steps": ("steps", "steps"),
}


def overspent(attempt: LiveAttempt, limit: str, used: float, allowed: float, account: Account | None = None) -> Outcome:
    """How the attempt ends for its budget; with the question where the task says to pause. account: on what it was spent."""
    message = f"The budget is used up: {limit} {used:g} of {allowed:g}."
    if attempt.claim.task.on_budget_exceeded != "checkpoint_and_pause":
        return Outcome(reason=Reason.BUDGET, message=message)
    usage = attempt.usage()
    details = {
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
    text = f"{message} Approve more, or reject to end with what there is."
    return Outcome(reason=Reason.BUDGET, message=message, question=Question(kind=ApprovalKind.BUDGET, text=text, details=details))


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
