"""Documents that come out: exactly the public contract."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ApprovalOut",
    "ArtifactsOut",
    "EventOut",
    "ListOf",
    "Problem",
    "ResultOut",
    "StateOut",
    "TaskOut",
    "UsageRow",
    "WorkerOut",
]

T = TypeVar("T")
Document = dict[str, Any]


class ListOf(BaseModel, Generic[T]):
    """A page of a list; pass next_cursor back as `cursor`, it is null on the last page."""

    data: list[T]
    next_cursor: str | None


class Problem(BaseModel):
    """RFC 9457 problem details; `code` is stable, further members tell more."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:tether:problem:invalid",
                    "title": "A field is not acceptable",
                    "status": 422,
                    "detail": "budget.max_usd: must not be negative; write dollars from 0 to 1,000,000, for example 5.00",
                    "code": "invalid",
                    "field": "budget.max_usd",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: str


class UsageOut(BaseModel):
    """What was spent so far."""

    llm_calls: int
    usd: float
    tokens: int
    web_requests: int
    web_counting: str
    tool_calls: int
    steps: int


class AttemptOut(BaseModel):
    """One leased execution."""

    number: int
    state: str
    reason: str | None
    message: str | None
    worker: str
    isolation: dict[str, str]
    started_at: str
    ended_at: str | None


class ApprovalOut(BaseModel):
    """A question to a human."""

    id: str
    task_id: str
    kind: str
    question: str
    state: str
    details: Document
    decision: Document | None
    created_at: str
    expires_at: str | None
    decided_at: str | None
    decided_by: str | None


class TaskOut(BaseModel):
    """A task as it stands."""

    id: str = Field(examples=["task_01JZ0000000000000000000000"])
    state: str = Field(examples=["queued"])
    reason: str | None
    message: str
    agent: str
    agent_version: str | None
    task_type: str
    goal: str
    input: Any
    tags: list[str]
    metadata: dict[str, str]
    user: str | None
    tenant: str
    priority: int
    budget: Document
    usage: UsageOut
    timeouts: Document
    attempts: list[AttemptOut]
    progress: Document
    partial: Any
    result: Any
    artifacts: list[Document]
    approval: ApprovalOut | None
    actions: list[str]
    created_at: str
    updated_at: str
    ended_at: str | None


class ResultOut(BaseModel):
    """How a task ended, or stands: the result of a success, and what was accomplished otherwise."""

    id: str
    state: str
    reason: str | None
    message: str
    result: Any
    partial: Any
    artifacts: list[Document]
    actions: list[str]


class ArtifactsOut(BaseModel):
    """Files kept of a task; fetch one at /v1/tasks/{id}/artifacts/{name}."""

    data: list[Document]
    next_cursor: None = None


class EventOut(BaseModel):
    """One row of a task's journal; docs/reference/events.md lists the types and their data."""

    seq: int
    task_id: str
    attempt: int | None
    step: int | None
    type: str
    at: str
    data: Document


class StateOut(BaseModel):
    """The inside of an attempt: its last checkpoint, and the dump made before a kill."""

    task_id: str
    attempt: int
    checkpoint: Document | None
    dump: Document | None
    dumped_at: str | None


class UsageRow(BaseModel):
    """One group of GET /v1/usage; the columns asked for and their sums."""

    model_config = ConfigDict(extra="allow")

    tasks: int
    llm_calls: int
    usd: float
    tokens: int


class WorkerOut(BaseModel):
    """A live worker."""

    id: str
    host: str
    state: str
    version: str
    slots: int
    leases: int
    agents: list[str]
    started_at: str
    beat_at: str
