"""Webhooks: the journal is the outbox. A cursor follows it, and every event of interest becomes a delivery per endpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select, update

from tether.errors import Conflict, NotFound, ValidationError
from tether.events import Event
from tether.store.access_rows import DeliveryRow, EndpointRow, NewEndpoint
from tether.store.access_tables import cursors, deliveries, endpoints
from tether.store.documents import read_payloads
from tether.store.ids import new_id
from tether.store.reading import Reading
from tether.store.rows import Page
from tether.store.tables import tasks
from tether.store.writing import Writing

__all__ = ["KINDS", "add", "disable", "endpoint", "endpoint_page", "remove", "route", "single", "test", "worth_routing"]

#: Events that are told: every change of state, and every question to a human.
KINDS = (
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
)
#: What a chat channel is told: only what waits for a human.
CHAT_KINDS = ("approval_asked", "task_escalated")
_CURSOR = "webhooks"


# --- endpoints


def _endpoint(row: Row[Any]) -> EndpointRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in EndpointRow.__dataclass_fields__}
    values["kinds"] = tuple(row.kinds.split())
    return EndpointRow(**values)


def add(tx: Writing, new: NewEndpoint, most: int) -> EndpointRow:
    """Store an endpoint unless the tenant has `most` already; raises ValidationError."""
    have = tx.all(select(endpoints.c.id).where(endpoints.c.tenant == new.tenant, endpoints.c.url != ""))
    if len(have) >= most:
        raise ValidationError("webhooks", f"there are {len(have)} already", "remove one first")
    values = {name: getattr(new, name) for name in NewEndpoint.__dataclass_fields__}
    endpoint_id = new_id("whk", tx.now_ms)
    values |= {"id": endpoint_id, "kinds": " ".join(new.kinds), "state": "active", "created_at_ms": tx.now_ms}
    tx.run(insert(endpoints).values(**values))
    return endpoint(tx, endpoint_id, None)


def endpoint(tx: Reading, endpoint_id: str, tenant: str | None) -> EndpointRow:
    """Raises NotFound, also for another tenant's."""
    row = tx.one(select(endpoints).where(endpoints.c.id == endpoint_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("webhook", endpoint_id)
    return _endpoint(row)


def endpoint_page(tx: Reading, tenant: str | None, limit: int, cursor: str | None) -> Page[EndpointRow]:
    """Newest first."""
    query = select(endpoints).where(endpoints.c.url != "").order_by(endpoints.c.id.desc()).limit(limit + 1)
    query = query if tenant is None else query.where(endpoints.c.tenant == tenant)
    rows = tx.all(query if cursor is None else query.where(endpoints.c.id < cursor))
    data = tuple(_endpoint(row) for row in rows[:limit])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > limit else None)


def single(tx: Writing, tenant: str, sealed: bytes) -> EndpointRow:
    """The row whose secret signs for the `webhook_url` of single tasks; made with `sealed` the first time."""
    values = {
        "id": new_id("whk", tx.now_ms),
        "tenant": tenant,
        "url": "",
        "format": "standard",
        "kinds": "",
        "secret": sealed,
        "state": "active",
        "created_by": "",
        "created_at_ms": tx.now_ms,
    }
    tx.run(tx.dialect.upsert(endpoints).values(**values).on_conflict_do_nothing())
    row = tx.one(select(endpoints).where(endpoints.c.tenant == tenant, endpoints.c.url == ""))
    assert row is not None
    return _endpoint(row)


def remove(tx: Writing, endpoint_id: str, tenant: str | None) -> None:
    """What is still pending for it is given up. Raises NotFound."""
    endpoint(tx, endpoint_id, tenant)
    tx.run(endpoints.delete().where(endpoints.c.id == endpoint_id))
    gone = {"state": "dead", "error": "the webhook was removed", "done_at_ms": tx.now_ms}
    where = (deliveries.c.endpoint_id == endpoint_id, deliveries.c.state == "pending")
    tx.run(update(deliveries).where(*where).values(**gone))


def disable(tx: Writing, endpoint_id: str) -> None:
    """Nothing more is sent to it (it answered 410)."""
    tx.run(update(endpoints).where(endpoints.c.id == endpoint_id).values(state="disabled"))


# --- from the journal to deliveries


def worth_routing(tx: Reading) -> bool:
    """Whether the journal has anything after the cursor."""
    row = tx.one(select(cursors.c.cursor).where(cursors.c.name == _CURSOR))
    return row is None or bool(tx.dialect.tail(tx.connection, row.cursor, 1, None).events)


def route(tx: Writing, limit: int, sealed: bytes) -> int:
    """Make deliveries of the next events and move the cursor, in one transaction; returns how many events were read.

    sealed: a signing secret for tenants that have none yet and need one for a task's `webhook_url`.
    """
    where = cursors.c.name == _CURSOR
    row = tx.one(tx.dialect.locked(select(cursors).where(where)))
    tail = tx.dialect.tail(tx.connection, row.cursor if row else None, limit, None)
    if row is None:
        values = {"name": _CURSOR, "cursor": tail.cursor, "updated_at_ms": tx.now_ms}
        tx.run(tx.dialect.upsert(cursors).values(**values).on_conflict_do_nothing())
        return 0
    told = [event for event in tail.events if event.type in KINDS]
    if told:
        _deliver(tx, told, sealed)
    if tail.cursor != row.cursor:
        tx.run(update(cursors).where(where).values(cursor=tail.cursor, updated_at_ms=tx.now_ms))
    return len(tail.events)


def _deliver(tx: Writing, told: Sequence[Event], sealed: bytes) -> None:
    ids = sorted({event.task_id for event in told})
    tenants = {row.id: row.tenant for row in tx.all(select(tasks.c.id, tasks.c.tenant).where(tasks.c.id.in_(ids)))}
    listening = _listening(tx, set(tenants.values()))
    urls = {task_id: (spec or {}).get("webhook_url") for (task_id, _), spec in read_payloads(tx, ids, ["spec"]).items()}
    new: list[dict[str, Any]] = []
    for event in told:
        tenant = tenants.get(event.task_id)
        if tenant is None:
            continue
        new += [_delivery(tx, event, e, e.url) for e in listening.get(tenant, ()) if event.type in _wanted(e)]
        if urls.get(event.task_id):
            new.append(_delivery(tx, event, single(tx, tenant, sealed), urls[event.task_id] or ""))
    if new:
        tx.run(insert(deliveries).values(new))


def _listening(tx: Reading, tenants: set[str]) -> Mapping[str, list[EndpointRow]]:
    query = select(endpoints).where(endpoints.c.tenant.in_(sorted(tenants)), endpoints.c.state == "active", endpoints.c.url != "")
    out: dict[str, list[EndpointRow]] = defaultdict(list)
    for row in tx.all(query):
        out[row.tenant].append(_endpoint(row))
    return out


def _wanted(row: EndpointRow) -> tuple[str, ...]:
    if row.format == "slack":
        return tuple(kind for kind in CHAT_KINDS if not row.kinds or kind in row.kinds)
    return row.kinds or KINDS


def _delivery(tx: Writing, event: Event | None, row: EndpointRow, url: str) -> dict[str, Any]:
    return {
        "id": new_id("dlv", tx.now_ms),
        "endpoint_id": row.id,
        "tenant": row.tenant,
        "url": url,
        "task_id": event.task_id if event else "",
        "seq": event.seq if event else 0,
        "type": event.type if event else "test",
        "state": "pending",
        "tries": 0,
        "created_at_ms": tx.now_ms,
        "next_at_ms": tx.now_ms,
    }


def test(tx: Writing, endpoint_id: str, tenant: str | None) -> DeliveryRow:
    """A delivery that tells of nothing. Raises NotFound, Conflict."""
    from tether.store.delivering import delivery

    row = endpoint(tx, endpoint_id, tenant)
    if row.state != "active":
        raise Conflict(f"{endpoint_id} is {row.state}; make a new one")
    made = _delivery(tx, None, row, row.url)
    tx.run(insert(deliveries).values(**made))
    return delivery(tx, made["id"], None)
