"""What a person can do for a task now, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tether.cli.output import one_line
from tether.task import ApprovalKind

if TYPE_CHECKING:
    from tether.task import Approval, TaskDocument

__all__ = ["asked", "commands", "missing_amount"]

_PURPOSE = {
    "approve": "let it go on",
    "reject": "end it with what it has",
    "answer": "answer it",
    "resume": "let it go on",
    "retry": "try again from the last checkpoint",
    "escalate": "hand it to a human",
    "cancel": "end it",
    "pause": "stop it at the next checkpoint",
    "update": "change its limits",
}


def missing_amount(approval: Approval, task: TaskDocument) -> tuple[str, float] | None:
    """The budget key a paused task ran out of and an amount worth adding (what it had), or None."""
    if approval.kind != ApprovalKind.BUDGET:
        return None
    limit = approval.details.get("limit")
    allowed = task.budget.document()
    if not isinstance(limit, str) or limit not in allowed:
        limit = "max_llm_calls"
    return limit, allowed[limit] or 1


def _written(action: str, task: TaskDocument) -> str:
    if action == "approve" and task.approval is not None:
        missing = missing_amount(task.approval, task)
        if missing:
            return f"tether approve {task.id} --add {missing[0]}={missing[1]:g}"
    if action == "answer":
        return f"tether answer {task.id} {shlex.quote('your answer')}"
    if action == "update":
        return f"tether update {task.id} --max-usd 10"
    return f"tether {action} {task.id}"


def commands(task: TaskDocument) -> list[tuple[str, str]]:
    """For each action of the task: the exact command and what it does."""
    return [(_written(action, task), _PURPOSE.get(action, "")) for action in task.actions]


def asked(task: TaskDocument) -> str:
    """What a paused task wants of a human, in one or two lines."""
    if task.approval is None:
        return task.message
    details: Mapping[str, Any] = task.approval.details
    choices = details.get("choices")
    text = one_line(task.approval.question or task.message, 1000)
    return f"{text}\nchoices: {', '.join(one_line(c) for c in choices)}" if isinstance(choices, list) and choices else text
