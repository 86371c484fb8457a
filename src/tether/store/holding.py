"""Holds: an operator stops claims or calls of whatever matches."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from tether.errors import NotFound, ValidationError
from tether.store.ids import new_id
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Hold
from tether.store.tables import holds
from tether.store.writing import Writing

__all__ = ["all_holds", "hold", "release"]

_insert_hold = Prepared(insert(holds))
_STOPS = ("claims", "calls")


def hold(tx: Writing, new: Hold) -> Hold:
    """In force from the next claim or reserve on. Raises ValidationError."""
    if new.stop not in _STOPS:
        raise ValidationError("stop", f"{new.stop!r} is unknown", "use claims or calls")
    if new.stop == "claims" and new.model is not None:
        raise ValidationError(
            "model", "cannot be held for claims: a task may use several", "hold calls of it, or claims of its agent"
        )
    values = {name: getattr(new, name) for name in ("stop", "agent", "task_type", "model", "tenant", "by")}
    made = Hold(**values, note=plain(new.note), id=new_id("hold"), created_at_ms=tx.now_ms)
    tx.put(_insert_hold, {name: getattr(made, name) for name in Hold.__dataclass_fields__})
    return made


def release(tx: Writing, hold_id: str) -> None:
    """Raises NotFound."""
    if tx.run(delete(holds).where(holds.c.id == hold_id)) == 0:
        raise NotFound("hold", hold_id)


def all_holds(tx: Reading) -> list[Hold]:
    """Oldest first."""
    rows = tx.all(select(holds).order_by(holds.c.id))
    return [Hold(**{name: getattr(row, name) for name in Hold.__dataclass_fields__}) for row in rows]
