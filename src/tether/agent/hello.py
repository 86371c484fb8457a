"""What the supervisor tells an attempt first: the task, where it stands, and what earlier attempts left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Hello", "TaskView", "ToolOutcome"]


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """The task as its agent sees it; input is any JSON, result_schema a JSON Schema or None, prohibited names tools and hosts."""

    id: str
    goal: str
    input: Any = None
    user: str | None = None
    tenant: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    result_schema: Mapping[str, Any] | None = None
    prohibited: tuple[str, ...] = ()
    on_budget_exceeded: str = "checkpoint_and_pause"

    @property
    def wraps_up(self) -> bool:
        """Whether what there is becomes a partial answer once the budget is used up."""
        return self.on_budget_exceeded == "wrap_up"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TaskView:
        """The view of the `task` in a hello reply; keys it does not know are ignored."""
        return cls(
            id=given["id"],
            goal=given["goal"],
            input=given.get("input"),
            user=given.get("user"),
            tenant=given.get("tenant") or "default",
            metadata=dict(given.get("metadata") or {}),
            result_schema=given.get("result_schema"),
            prohibited=tuple(given.get("prohibited") or ()),
            on_budget_exceeded=given.get("on_budget_exceeded") or "checkpoint_and_pause",
        )


@dataclass(frozen=True, kw_only=True)
class ToolOutcome:
    """How a tool call ended; outcome: ok | error | timeout | refused | outcome_unknown, result is JSON, error is text."""

    outcome: str
    result: Any = None
    error: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ToolOutcome:
        """The outcome in a tool reply or in hello."""
        return cls(outcome=given["outcome"], result=given.get("result"), error=given.get("error"))


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The supervisor's answer to hello.

    step: steps the task has had. state: the last checkpoint's state, composed, with its number, or None. answers: by question
    key. budget: limit → what is left. window: the model's context in tokens or None. tools: calls newer than the checkpoint, by
    call id.
    """

    task: TaskView
    attempt: int = 1
    step: int = 0
    state: Any = None
    state_number: int | None = None
    partial: Any = None
    answers: Mapping[str, str] = field(default_factory=dict[str, str])
    budget: Mapping[str, float] = field(default_factory=dict[str, float])
    nudge: str | None = None
    window: int | None = None
    tools: Mapping[str, ToolOutcome] = field(default_factory=dict[str, ToolOutcome])

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Hello:
        """The hello of a reply packet."""
        return cls(
            task=TaskView.of(reply["task"]),
            attempt=reply.get("attempt", 1),
            step=reply.get("step") or 0,
            state=reply.get("state"),
            state_number=reply.get("state_number"),
            partial=reply.get("partial"),
            answers=dict(reply.get("answers") or {}),
            budget=dict(reply.get("budget") or {}),
            nudge=reply.get("nudge"),
            window=(reply.get("context") or {}).get("window"),
            tools={call_id: ToolOutcome.of(given) for call_id, given in (reply.get("tools") or {}).items()},
        )
