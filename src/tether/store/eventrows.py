"""Events as rows: reading them one task at a time or over all tasks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, select

from tether.errors import ValidationError
from tether.events import Event
from tether.store.payloads import unpack
from tether.store.tables import events, tasks

__all__ = ["event_of", "tail_cursor", "tail_select"]


def event_of(row: Row[Any]) -> Event:
    """The event of a row of `events`."""
    return Event(
        task_id=row.task_id,
        seq=row.seq,
        attempt=row.attempt,
        step=row.step,
        type=row.type,
        at_ms=row.at_ms,
        data=unpack(row.data),
    )


def tail_select(tenant: str | None) -> Select[*tuple[Any, ...]]:
    """Events of all tasks, or of one tenant's."""
    if tenant is None:
        return select(events)
    return select(events).join(tasks, tasks.c.id == events.c.task_id).where(tasks.c.tenant == tenant)


def tail_cursor(cursor: str, parts: int) -> tuple[int, ...]:
    """The whole numbers of a tail cursor ("" is the beginning). Raises ValidationError for what is not one of ours."""
    if cursor == "":
        return (0,) * parts
    numbers = cursor.split("-")
    if len(numbers) != parts or not all(n.isascii() and n.isdigit() and len(n) < 20 for n in numbers):
        raise ValidationError("cursor", f"{cursor!r} is not a cursor of this store", "pass back the cursor you were given")
    return tuple(int(n) for n in numbers)
