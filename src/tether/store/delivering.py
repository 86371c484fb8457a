"""Deliveries of webhooks: taken for a while by one sender, tried again until a deadline, dead after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update

from tether.errors import Conflict, NotFound
from tether.store.access_rows import DeliveryRow
from tether.store.access_tables import deliveries
from tether.store.payloads import plain
from tether.store.reading import Reading
from tether.store.rows import Page
from tether.store.writing import Writing

__all__ = ["delivered", "delivery", "delivery_page", "failed", "replay", "take", "worth_taking"]


def _row(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(**{name: getattr(row, name) for name in DeliveryRow.__dataclass_fields__})


def delivery(tx: Reading, delivery_id: str, tenant: str | None) -> DeliveryRow:
    """Raises NotFound, also for another tenant's."""
    row = tx.one(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("delivery", delivery_id)
    return _row(row)


def delivery_page(tx: Reading, tenant: str | None, state: str | None, limit: int, cursor: str | None) -> Page[DeliveryRow]:
    """Newest first."""
    query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit + 1)
    for column, value in (("tenant", tenant), ("state", state)):
        query = query if value is None else query.where(deliveries.c[column] == value)
    rows = tx.all(query if cursor is None else query.where(deliveries.c.id < cursor))
    data = tuple(_row(row) for row in rows[:limit])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > limit else None)


def worth_taking(tx: Reading) -> bool:
    """Whether anything is due."""
    return tx.one(select(deliveries.c.id).where(*_due(tx)).limit(1)) is not None


def _due(tx: Reading) -> tuple[ColumnElement[bool], ...]:
    return (deliveries.c.state == "pending", deliveries.c.next_at_ms <= tx.now_ms)


def take(tx: Writing, limit: int, lease_s: float, busy: Mapping[str, int], each: int) -> list[DeliveryRow]:
    """Due deliveries, each for this caller alone for lease_s seconds; its try is counted now, so a crash counts too.

    busy: endpoint -> how many are under way to it; at most `each` to one, so that one that hangs does not hold up the others.
    """
    full = [name for name, number in busy.items() if number >= each]
    query = select(deliveries.c.id, deliveries.c.endpoint_id).where(*_due(tx), deliveries.c.endpoint_id.not_in(full))
    room = {name: each - number for name, number in busy.items()}
    ids: list[str] = []
    for row in tx.all(tx.dialect.locked(query.order_by(deliveries.c.next_at_ms).limit(limit), skip=True)):
        room[row.endpoint_id] = room.get(row.endpoint_id, each) - 1
        if room[row.endpoint_id] >= 0:
            ids.append(row.id)
    if not ids:
        return []
    taken = {"next_at_ms": tx.now_ms + int(lease_s * 1000), "tries": deliveries.c.tries + 1}
    tx.run(update(deliveries).where(deliveries.c.id.in_(ids)).values(**taken))
    tx.run(
        update(deliveries)
        .where(deliveries.c.id.in_(ids), deliveries.c.first_try_at_ms.is_(None))
        .values(first_try_at_ms=tx.now_ms)
    )
    return [_row(row) for row in tx.all(select(deliveries).where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id))]


def delivered(tx: Writing, delivery_id: str, status: int) -> None:
    """It was taken by the other side."""
    _put(tx, delivery_id, state="delivered", status=status, error=None, done_at_ms=tx.now_ms)


def failed(tx: Writing, delivery_id: str, status: int | None, error: str, again_in_s: float | None) -> None:
    """It was not; tried again later, or dead when again_in_s is None."""
    values: dict[str, Any] = {"status": status, "error": plain(error, 500)}
    if again_in_s is None:
        values |= {"state": "dead", "done_at_ms": tx.now_ms}
    else:
        values |= {"next_at_ms": tx.now_ms + int(again_in_s * 1000)}
    _put(tx, delivery_id, **values)


def replay(tx: Writing, delivery_id: str, tenant: str | None) -> DeliveryRow:
    """Send a delivered or dead one again, under the same id. Raises NotFound, Conflict."""
    row = delivery(tx, delivery_id, tenant)
    if row.state == "pending":
        raise Conflict(f"{delivery_id} is on its way already")
    anew = {"state": "pending", "next_at_ms": tx.now_ms, "first_try_at_ms": None, "done_at_ms": None, "tries": 0, "error": None}
    tx.run(update(deliveries).where(deliveries.c.id == delivery_id).values(**anew))
    return delivery(tx, delivery_id, None)


def _put(tx: Writing, delivery_id: str, **values: Any) -> None:
    where = (deliveries.c.id == delivery_id, deliveries.c.state == "pending")
    tx.run(update(deliveries).where(*where).values(**values))
