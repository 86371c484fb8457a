"""The tables of access: keys, the audit log, uploaded files, sealed secrets, webhook endpoints and their deliveries."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text, text

from tether.store.tables import metadata

__all__ = ["audit", "cursors", "deliveries", "endpoints", "keys", "secrets", "uploads"]

_big = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, _big, nullable=null)


def _blob(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


#: hash: sha256 of the key in hex; the key itself is stored nowhere. scopes: words with spaces between.
keys = Table(
    "keys",
    metadata,
    _text("id"),
    _text("tenant"),
    _text("name"),
    _text("prefix"),
    _text("hash"),
    _text("scopes"),
    _text("created_by"),
    _int("created_at_ms"),
    _int("expires_at_ms", null=True),
    _int("revoked_at_ms", null=True),
    _int("last_used_at_ms", null=True),
    _int("rate_per_s", null=True),
    PrimaryKeyConstraint("id"),
)
Index("ux_keys_hash", keys.c.hash, unique=True)
Index("ix_keys_tenant", keys.c.tenant, keys.c.id)

#: outcome: begun | done | the code of the error it was refused with.
audit = Table(
    "audit",
    metadata,
    _text("id"),
    _int("at_ms"),
    _text("tenant"),
    _text("actor"),
    _text("address"),
    _text("action"),
    _text("object"),
    _blob("detail"),
    _text("outcome"),
    PrimaryKeyConstraint("id"),
)
Index("ix_audit_tenant", audit.c.tenant, audit.c.id)
Index("ix_audit_object", audit.c.object)

uploads = Table(
    "uploads",
    metadata,
    _text("id"),
    _text("tenant"),
    _text("name"),
    _int("size_bytes"),
    _text("sha256"),
    _text("content_type", null=True),
    _text("created_by"),
    _int("created_at_ms"),
    PrimaryKeyConstraint("id"),
)
Index("ix_uploads_tenant", uploads.c.tenant, uploads.c.id)

#: data null: erased, the task ended.
secrets = Table("secrets", metadata, _text("task_id"), _blob("data", null=True), PrimaryKeyConstraint("task_id"))

#: format: standard | slack. url "": signs for the `webhook_url` of single tasks. kinds: event types with spaces between,
#: empty: all. state: active | disabled.
endpoints = Table(
    "endpoints",
    metadata,
    _text("id"),
    _text("tenant"),
    _text("url"),
    _text("format"),
    _text("kinds"),
    _blob("secret"),
    _text("state"),
    _text("created_by"),
    _int("created_at_ms"),
    PrimaryKeyConstraint("id"),
)
Index("ix_endpoints_tenant", endpoints.c.tenant, endpoints.c.id)
_single = text("url = ''")
Index("ux_endpoints_single", endpoints.c.tenant, unique=True, sqlite_where=_single, postgresql_where=_single)

#: state: pending | delivered | dead. next_at_ms: not before. seq 0: a test. url: where, as it was when the event happened.
deliveries = Table(
    "deliveries",
    metadata,
    _text("id"),
    _text("endpoint_id"),
    _text("tenant"),
    _text("url"),
    _text("task_id"),
    _int("seq"),
    _text("type"),
    _text("state"),
    _int("tries"),
    _int("created_at_ms"),
    _int("first_try_at_ms", null=True),
    _int("next_at_ms"),
    _int("done_at_ms", null=True),
    _int("status", null=True),
    _text("error", null=True),
    PrimaryKeyConstraint("id"),
)
_pending = text("state = 'pending'")
Index("ix_deliveries_due", deliveries.c.next_at_ms, sqlite_where=_pending, postgresql_where=_pending)
Index("ix_deliveries_tenant", deliveries.c.tenant, deliveries.c.id)
Index("ix_deliveries_task", deliveries.c.task_id)

#: How far a reader of the journal got (name: webhooks).
cursors = Table("cursors", metadata, _text("name"), _text("cursor"), _int("updated_at_ms"), PrimaryKeyConstraint("name"))
