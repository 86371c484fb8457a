"""Keys, files, webhooks and the audit log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tether.web.schemas.tasks import WHOLE, In, Name

__all__ = [
    "AuditOut",
    "DeliveryOut",
    "KeyIn",
    "KeyMade",
    "KeyOut",
    "RotateIn",
    "SecretOut",
    "UploadOut",
    "WebhookIn",
    "WebhookMade",
    "WebhookOut",
]

Event = Literal[
    "task_submitted",
    "attempt_started",
    "task_requeued",
    "task_paused",
    "task_resumed",
    "task_retried",
    "task_escalated",
    "task_succeeded",
    "task_failed",
    "task_cancelled",
    "approval_asked",
    "approval_decided",
    "approval_expired",
]
Scope = Literal["submit", "read", "approve", "admin", "tenants:any"]


class KeyIn(In):
    """A new key; one can only give scopes one has."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "shop", "scopes": ["submit", "read"]}]})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)]
    tenant: Annotated[Name | None, Field(description="only with the scope tenants:any; else the key's own")] = None
    expires_s: Annotated[int, Field(ge=60, le=10 * 365 * 86400), WHOLE] | None = None
    rate_per_s: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None


class RotateIn(In):
    """overlap_s: seconds the old key still works."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86400), WHOLE] = 86_400


class KeyOut(BaseModel):
    """A key, without what opens anything."""

    id: str
    name: str
    tenant: str
    prefix: str
    scopes: list[str]
    rate_per_s: int | None
    created_by: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class KeyMade(KeyOut):
    """A new key; `key` is shown this once and stored nowhere."""

    key: str


class UploadOut(BaseModel):
    """An uploaded file; name it `upload:ID` in a task's files."""

    id: str
    name: str
    bytes: int
    sha256: str
    content_type: str | None
    created_at: str


class WebhookIn(In):
    """Where to tell of changes. format standard: signed (Standard Webhooks); slack: a chat channel, told of what waits."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.com/tether", "events": ["task_succeeded", "task_paused"]}]},
    )

    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s/?#@]+(?:[/?#]\S*)?$")]
    format: Literal["standard", "slack"] = "standard"
    events: Annotated[list[Event], Field(max_length=50, description="empty: all that are told")] = Field(
        default_factory=list[Event]
    )


class WebhookOut(BaseModel):
    """An endpoint, without its secret."""

    id: str
    url: str
    format: str
    events: list[str]
    state: str
    created_by: str
    created_at: str


class WebhookMade(WebhookOut):
    """A new endpoint; `secret` verifies its signatures and is shown this once."""

    secret: str


class SecretOut(BaseModel):
    """The signing secret for the `webhook_url` of single tasks of this tenant."""

    secret: str


class DeliveryOut(BaseModel):
    """One event on its way to one URL. state: pending | delivered | dead."""

    id: str
    webhook: str
    url: str
    task_id: str | None
    seq: int
    type: str
    state: str
    tries: int
    status: int | None
    error: str | None
    created_at: str
    next_try_at: str | None
    done_at: str | None


class AuditOut(BaseModel):
    """One line of the audit log. outcome: begun | done | the code it was refused with."""

    id: str
    at: str
    tenant: str
    actor: str
    address: str
    action: str
    object: str
    detail: dict[str, Any]
    outcome: str
