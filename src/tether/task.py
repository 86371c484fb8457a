"""What a user submits: Task; with its limits and documents at hand under one roof.

Everything here is frozen and checks itself when made, so nothing further in ever sees a bad limit.
Money is held in integer nano-dollars (1 USD = 1_000_000_000) and shown in dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, cast

from tether.checks import (
    MAX_GOAL_CHARS,
    NANO,
    checked_count,
    checked_json_value,
    checked_name,
    checked_schema,
    checked_secrets,
    checked_text,
    checked_text_map,
    checked_texts,
    known_keys,
    nano_from_usd,
    rfc3339,
    usd_from_nano,
)
from tether.documents import Answer, Approval, ApprovalKind, Attempt, TaskDocument, Usage
from tether.errors import ValidationError
from tether.limits import Budget, Timeouts

__all__ = [
    "NANO",
    "ON_BUDGET_EXCEEDED",
    "Answer",
    "Approval",
    "ApprovalKind",
    "Attempt",
    "AutoGPTTask",
    "Budget",
    "Task",
    "TaskDocument",
    "Timeouts",
    "Usage",
    "nano_from_usd",
    "rfc3339",
    "usd_from_nano",
]

ON_BUDGET_EXCEEDED = ("checkpoint_and_pause", "wrap_up", "terminate")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A goal for an agent, with its budget and timeouts; immutable and checked when made.

    agent: a name of `[agents.…]`. budget, timeouts: objects or mappings; keys left out take the task type's value or the default.
    on_budget_exceeded: "checkpoint_and_pause" | "wrap_up" | "terminate". input: any JSON. files: {name in workspace: local path}.
    result_schema: a JSON Schema or a pydantic model class. priority: higher first. start_at: datetime with a zone, or None.
    max_attempts: attempts that may fail before the task does. prohibited: tools and hosts the agent must not use.
    model: overrides the agent's configured model. secrets: {variable of the attempt's environment: value}; write-only: stored
    encrypted, shown nowhere, erased when the task ends. Raises ValidationError naming the field.
    """

    goal: str
    agent: str = "autogpt"
    budget: Budget | Mapping[str, Any] | None = None
    timeouts: Timeouts | Mapping[str, Any] | None = None
    on_budget_exceeded: str = "checkpoint_and_pause"
    task_type: str = "default"
    input: Any = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None
    tenant: str = "default"
    result_schema: Any = None
    tags: tuple[str, ...] | list[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    priority: int = 0
    start_at: datetime | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    webhook_url: str | None = None
    prohibited: tuple[str, ...] | list[str] = ()
    model: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "goal", checked_text(self.goal, "goal", most=MAX_GOAL_CHARS, allow_empty=False))
        put(self, "agent", checked_name(self.agent, "agent"))
        put(self, "task_type", checked_name(self.task_type, "task_type"))
        put(self, "tenant", checked_name(self.tenant, "tenant"))
        for name in ("user", "idempotency_key", "model", "webhook_url"):
            if getattr(self, name) is not None:
                put(self, name, checked_text(getattr(self, name), name, most=2000, allow_empty=False))
        self._check_limits()
        put(self, "input", checked_json_value(self.input, "input"))
        put(self, "files", checked_text_map(self.files, "files"))
        put(self, "metadata", checked_text_map(self.metadata, "metadata"))
        put(self, "tags", checked_texts(self.tags, "tags"))
        put(self, "prohibited", checked_texts(self.prohibited, "prohibited"))
        put(self, "result_schema", checked_schema(self.result_schema))
        put(self, "secrets", checked_secrets(self.secrets))
        if self.start_at is not None and (not isinstance(self.start_at, datetime) or self.start_at.tzinfo is None):
            raise ValidationError("start_at", "has no time zone", "use datetime(…, tzinfo=UTC)")

    def _check_limits(self) -> None:
        for name, kind in (("budget", Budget), ("timeouts", Timeouts)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                kind.of(value)
                object.__setattr__(self, name, dict(value))
        if self.on_budget_exceeded not in ON_BUDGET_EXCEEDED:
            raise ValidationError(
                "on_budget_exceeded", f"{self.on_budget_exceeded!r} is unknown", f"use one of {', '.join(ON_BUDGET_EXCEEDED)}"
            )
        if isinstance(self.priority, bool) or not isinstance(self.priority, int) or not -1000 <= self.priority <= 1000:
            raise ValidationError("priority", f"{self.priority!r} is not a priority", "use a whole number from -1000 to 1000")
        attempts = checked_count(self.max_attempts, "max_attempts")
        if not 1 <= attempts <= 100:
            raise ValidationError("max_attempts", f"{attempts} is out of range", "use 1 to 100")

    def document(self) -> dict[str, Any]:
        """The task as it is sent over REST, without its secrets; `of` takes it back."""
        out: dict[str, Any] = {}
        for f in fields(self):
            if f.name == "secrets":
                continue
            value = getattr(self, f.name)
            if isinstance(value, Budget | Timeouts):
                value = value.document()
            elif isinstance(value, datetime):
                value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            elif isinstance(value, tuple):
                value = list(cast("tuple[Any, ...]", value))
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if value != default and not (value == [] and default == ()):
                out[f.name] = value
        return out

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Task:
        """A task from a JSON document; raises ValidationError for unknown or missing fields."""
        given = known_keys(Task, document, "task")
        if "goal" not in given:
            raise ValidationError("goal", "is missing", "say what is wanted")
        if isinstance(given.get("start_at"), str):
            try:
                given["start_at"] = datetime.fromisoformat(given["start_at"])
            except ValueError:
                raise ValidationError("start_at", f"{given['start_at']!r} is not a time", "use RFC 3339") from None
        return Task(**given)


class AutoGPTTask(Task):
    """A task for the built-in agent `autogpt`."""
