"""What users get back: the documents of a stored task, the same in Python, `--json`, REST and webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from tether.checks import MAX_GOAL_CHARS, checked_text, rfc3339, usd_from_nano
from tether.errors import ValidationError
from tether.limits import Budget, Timeouts

__all__ = ["Answer", "Approval", "ApprovalKind", "Attempt", "TaskDocument", "Usage"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a task spent so far; nanousd in nano-dollars, tokens input plus output; web_counting: exact | connections."""

    llm_calls: int = 0
    nanousd: int = 0
    held_nanousd: int = 0
    tokens: int = 0
    web_requests: int = 0
    tool_calls: int = 0
    steps: int = 0
    web_counting: str = "exact"

    def document(self) -> dict[str, Any]:
        """The usage as JSON; usd in dollars."""
        return {
            "llm_calls": self.llm_calls,
            "usd": usd_from_nano(self.nanousd),
            "tokens": self.tokens,
            "web_requests": self.web_requests,
            "web_counting": self.web_counting,
            "tool_calls": self.tool_calls,
            "steps": self.steps,
        }


class ApprovalKind:
    """What a human is asked: budget, question, approval (replay, version change), stuck, escalated."""

    BUDGET = "budget"
    QUESTION = "question"
    APPROVAL = "approval"
    STUCK = "stuck"
    ESCALATED = "escalated"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A question to a human. kind: see ApprovalKind; key: the agent's own; details: what was spent, done, asked."""

    id: str
    task_id: str
    kind: str
    question: str
    state: str  # open approved rejected answered expired
    details: Mapping[str, Any]
    key: str | None = None
    decision: Mapping[str, Any] | None = None
    created_at_ms: int = 0
    expires_at_ms: int | None = None
    decided_at_ms: int | None = None
    decided_by: str | None = None

    def document(self) -> dict[str, Any]:
        """The approval as JSON."""
        return {
            "id": self.id,
            "task_id": self.task_id,
            "kind": self.kind,
            "question": self.question,
            "state": self.state,
            "details": dict(self.details),
            "decision": None if self.decision is None else dict(self.decision),
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
            "decided_at": rfc3339(self.decided_at_ms),
            "decided_by": self.decided_by,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A decision on an approval: approve | reject | edit | answer; add: budget amounts to add; text: the answer; by: who."""

    decision: str
    add: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""
    comment: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.decision not in ("approve", "reject", "edit", "answer"):
            raise ValidationError("decision", f"{self.decision!r} is unknown", "use approve, reject, edit or answer")
        checked_text(self.text, "text", most=MAX_GOAL_CHARS)
        checked_text(self.comment, "comment", most=2000)
        Budget().plus(self.add)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One leased execution. state: running succeeded failed paused cancelled; isolation: wall -> enforced | cooperative."""

    number: int
    state: str
    reason: str | None
    worker: str
    isolation: Mapping[str, str]
    started_at_ms: int
    ended_at_ms: int | None = None
    message: str | None = None

    def document(self) -> dict[str, Any]:
        """The attempt as JSON."""
        return {
            "number": self.number,
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "worker": self.worker,
            "isolation": dict(self.isolation),
            "started_at": rfc3339(self.started_at_ms),
            "ended_at": rfc3339(self.ended_at_ms),
        }


@dataclass(frozen=True, kw_only=True)
class TaskDocument:
    """A stored task as users see it, in Python, `--json`, REST and webhooks alike (`document()`)."""

    id: str
    state: str
    reason: str | None
    message: str
    agent: str
    agent_version: str | None
    task_type: str
    goal: str
    input: Any
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    user: str | None
    tenant: str
    priority: int
    budget: Budget
    usage: Usage
    timeouts: Timeouts
    attempts: tuple[Attempt, ...]
    progress: Mapping[str, Any]
    partial: Any
    result: Any
    artifacts: tuple[Mapping[str, Any], ...]
    approval: Approval | None
    actions: tuple[str, ...]
    created_at_ms: int
    updated_at_ms: int
    ended_at_ms: int | None

    def document(self) -> dict[str, Any]:
        """The task as JSON, exactly the public contract."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_at_ms"):
                out[f.name.removesuffix("_ms")] = rfc3339(value)
            elif isinstance(value, Budget | Timeouts | Usage | Approval):
                out[f.name] = value.document()
            elif f.name == "attempts":
                out[f.name] = [a.document() for a in self.attempts]
            elif f.name in ("tags", "actions"):
                out[f.name] = list(value)
            elif f.name == "artifacts":
                out[f.name] = [dict(a) for a in self.artifacts]
            elif isinstance(value, Mapping):
                out[f.name] = dict(cast("Mapping[str, Any]", value))
            else:
                out[f.name] = value
        return out
