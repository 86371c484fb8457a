"""Tasks as they are submitted and changed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["SUBMISSION", "BudgetIn", "Checked", "TaskChange", "TaskIn", "TimeoutsIn", "When", "WHOLE"]

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)?\Z")


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is whole, true and "5" are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError("Input should be a whole number")
    return int(value)


def _time(value: Any) -> Any:
    """RFC 3339 text, and not a number of seconds."""
    if not isinstance(value, str) or not _TIME.match(value):
        raise ValueError("Input should be a time as RFC 3339 writes it, for example 2026-01-31T12:00:00Z")
    return value


WHOLE = BeforeValidator(_whole)
When = Annotated[datetime, BeforeValidator(_time)]
Count = Annotated[int, Field(ge=0, le=10**9), WHOLE]
Dollars = (
    Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False, strict=True)]
    | Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$")]
)
Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86400, allow_inf_nan=False, strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$")]
Short = Annotated[str, Field(max_length=200)]
Word = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Secret = Annotated[str, Field(min_length=6, max_length=16_000)]
Secrets = Annotated[dict[Variable, Secret], Field(max_length=50, json_schema_extra={"additionalProperties": False})]
Upload = Annotated[str, Field(pattern=r"^upload:upload_[0-9A-Z]{26}$", examples=["upload:upload_01JZ0000000000000000000000"])]

SUBMISSION: dict[str, Any] = {
    "goal": "Research competitors and prepare a report",
    "budget": {"max_llm_calls": 50, "max_usd": 5.0, "max_web_requests": 100},
    "on_budget_exceeded": "checkpoint_and_pause",
    "timeouts": {"tool_s": 30, "step_s": 120, "task_s": 3600},
    "user": "alice",
    "metadata": {"order": "4711"},
}


class In(BaseModel):
    """Unknown fields are refused, so that a typing error is not taken for a default."""

    model_config = ConfigDict(extra="forbid")


class BudgetIn(In):
    """What may be spent; keys left out take the task type's value or the default. 0 means none at all."""

    max_llm_calls: Count | None = None
    max_usd: Dollars | None = None
    max_web_requests: Count | None = None
    max_tokens: Count | None = None
    max_steps: Count | None = None
    max_tool_calls: Count | None = None


class TimeoutsIn(In):
    """How long things may take, seconds."""

    tool_s: Seconds | None = None
    step_s: Seconds | None = None
    task_s: Seconds | None = None
    idle_s: Seconds | None = None
    queue_s: Seconds | None = None
    approval_s: Seconds | None = None


class TaskIn(In):
    """A goal for an agent, with its limits."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [SUBMISSION]})

    goal: Annotated[str, Field(min_length=1, max_length=100_000, pattern=r"\S")]
    agent: Name | None = None
    budget: BudgetIn | None = None
    timeouts: TimeoutsIn | None = None
    on_budget_exceeded: Literal["checkpoint_and_pause", "wrap_up", "terminate"] | None = None
    task_type: Name | None = None
    input: Annotated[Any, Field(description="any JSON up to 1 MB")] = None
    files: Annotated[
        dict[Annotated[str, Field(max_length=128)], Upload] | None, Field(description="name in the workspace: upload:ID")
    ] = None
    user: Word | None = None
    tenant: Annotated[Name | None, Field(description="only with the scope tenants:any; else the key's own")] = None
    result_schema: Annotated[dict[str, Any] | None, Field(description="a JSON Schema the result must match")] = None
    tags: Annotated[list[Short] | None, Field(max_length=100)] = None
    metadata: dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=2000)]] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000), WHOLE] | None = None
    start_at: When | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100), WHOLE] | None = None
    idempotency_key: Annotated[Word | None, Field(description="as the header Idempotency-Key")] = None
    webhook_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s/?#@]+(?:[/?#]\S*)?$")] | None = None
    prohibited: Annotated[list[Short] | None, Field(max_length=200, description="tools and hosts it must not use")] = None
    model: Word | None = None
    by: Annotated[str, Field(max_length=200, description="who submits, for the journal")] = ""
    secrets: Annotated[Secrets | None, Field(description="variables of the attempt's environment; write-only")] = None


class TaskChange(In):
    """New limits (absolute; keys left out stay), priority or note of a task that is not final."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"budget": {"max_usd": 10}, "note": "the customer agreed"}]}
    )

    budget: BudgetIn | None = None
    timeouts: TimeoutsIn | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000), WHOLE] | None = None
    note: Annotated[str | None, Field(max_length=2000)] = None
    by: Annotated[str, Field(max_length=200, description="who asks, for the journal")] = ""


class Checked(BaseModel):
    """What a submission would store (`?dry_run=true`)."""

    task: dict[str, Any]
    budget: dict[str, Any]
    timeouts: dict[str, Any]
    agent_version: str | None
    warnings: list[str]
