"""What the tables of access hold, as frozen rows (times in milliseconds by the database's clock), and as users see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tether.task import rfc3339

__all__ = ["AuditRow", "DeliveryRow", "EndpointRow", "KeyRow", "NewAudit", "NewEndpoint", "NewKey", "NewUpload", "UploadRow"]


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key to store. hash: sha256 in hex; prefix: the part that is shown; expires_at_ms, rate_per_s: None for the default."""

    tenant: str
    name: str
    prefix: str
    hash: str
    scopes: tuple[str, ...]
    created_by: str = ""
    expires_at_ms: int | None = None
    rate_per_s: int | None = None


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A stored key, without what opens anything."""

    id: str
    tenant: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_by: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    last_used_at_ms: int | None
    rate_per_s: int | None

    def valid(self, now_ms: int) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)

    def document(self) -> dict[str, Any]:
        """The key as JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "tenant": self.tenant,
            "prefix": self.prefix,
            "scopes": list(self.scopes),
            "rate_per_s": self.rate_per_s,
            "created_by": self.created_by,
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
            "revoked_at": rfc3339(self.revoked_at_ms),
            "last_used_at": rfc3339(self.last_used_at_ms),
        }


@dataclass(frozen=True, kw_only=True)
class NewAudit:
    """Something a human or program asked for. object: id of what it was about; detail: JSON without secrets."""

    tenant: str
    actor: str
    action: str
    object: str
    address: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One line of the audit log. outcome: begun | done | the code of the error it was refused with."""

    id: str
    at_ms: int
    tenant: str
    actor: str
    address: str
    action: str
    object: str
    detail: Mapping[str, Any]
    outcome: str

    def document(self) -> dict[str, Any]:
        """The line as JSON."""
        return {
            "id": self.id,
            "at": rfc3339(self.at_ms),
            "tenant": self.tenant,
            "actor": self.actor,
            "address": self.address,
            "action": self.action,
            "object": self.object,
            "detail": dict(self.detail),
            "outcome": self.outcome,
        }


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """A file that was received; its bytes lie in the data folder under `id`."""

    id: str
    tenant: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str | None = None
    created_by: str = ""


@dataclass(frozen=True, kw_only=True)
class UploadRow(NewUpload):
    """A stored upload."""

    created_at_ms: int

    def document(self) -> dict[str, Any]:
        """The upload as JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "content_type": self.content_type,
            "created_at": rfc3339(self.created_at_ms),
        }


@dataclass(frozen=True, kw_only=True)
class NewEndpoint:
    """Where to tell of changes. format: standard | slack; kinds: event types, empty: all; secret: sealed signing secret."""

    tenant: str
    url: str
    secret: bytes
    format: str = "standard"
    kinds: tuple[str, ...] = ()
    created_by: str = ""


@dataclass(frozen=True, kw_only=True)
class EndpointRow(NewEndpoint):
    """A stored endpoint. state: active | disabled."""

    id: str
    state: str
    created_at_ms: int

    def document(self) -> dict[str, Any]:
        """The endpoint as JSON, without its secret."""
        return {
            "id": self.id,
            "url": self.url,
            "format": self.format,
            "events": list(self.kinds),
            "state": self.state,
            "created_by": self.created_by,
            "created_at": rfc3339(self.created_at_ms),
        }


@dataclass(frozen=True, kw_only=True)
class DeliveryRow:
    """One event on its way to one URL. state: pending | delivered | dead; seq 0: a test."""

    id: str
    endpoint_id: str
    tenant: str
    url: str
    task_id: str
    seq: int
    type: str
    state: str
    tries: int
    created_at_ms: int
    first_try_at_ms: int | None
    next_at_ms: int
    done_at_ms: int | None
    status: int | None
    error: str | None

    def document(self) -> dict[str, Any]:
        """The delivery as JSON."""
        return {
            "id": self.id,
            "webhook": self.endpoint_id,
            "url": self.url,
            "task_id": self.task_id or None,
            "seq": self.seq,
            "type": self.type,
            "state": self.state,
            "tries": self.tries,
            "status": self.status,
            "error": self.error,
            "created_at": rfc3339(self.created_at_ms),
            "next_try_at": rfc3339(self.next_at_ms) if self.state == "pending" else None,
            "done_at": rfc3339(self.done_at_ms),
        }
