"""Holds: an operator stops claims or calls of whatever matches; what paused for one goes on by itself once it is released."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from tether.errors import NotFound, ValidationError
from tether.lifecycle import Reason, State
from tether.store.ids import new_id
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Hold
from tether.store.tables import holds, tasks
from tether.store.taskrow import TaskRow, select_tasks
from tether.store.wants import resume as _resume
from tether.store.writing import Writing

__all__ = ["all_holds", "hold", "release", "released", "resume"]

_insert_hold = Prepared(insert(holds))
_STOPS = ("claims", "calls")
_RELEASED = "The hold was released."
_paused = (tasks.c.state == State.PAUSED, tasks.c.reason == Reason.OPERATOR, tasks.c.wants.contains('"hold"'))


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


def released(tx: Reading) -> list[str]:
    """Tasks that paused for a hold which is in force no longer; asked without a lock."""
    in_force = {row.id for row in tx.all(select(holds.c.id))}
    rows = [TaskRow.of(row) for row in tx.all(select_tasks().where(*_paused).order_by(tasks.c.id))]
    return [row.id for row in rows if _awaits(row) not in in_force and "unpark" not in row.wanted()]


def resume(tx: Writing, task_ids: Sequence[str]) -> int:
    """These tasks go on, or their workers are told to let them; returns how many. Those that moved meanwhile stay as they are."""
    rows = [row for row in tx.lock(task_ids).values() if row.state == State.PAUSED and row.reason == Reason.OPERATOR]
    rows = [row for row in rows if _awaits(row) is not None]
    for row in rows:
        if row.parked:
            row.want("unpark", note=_RELEASED)
        else:
            row.unwant("hold")
            _resume(tx, row, "", _RELEASED)
    return len(rows)


def _awaits(row: TaskRow) -> str | None:
    """Id of the hold a paused task waits for."""
    found = row.wanted().get("hold")
    return None if found is None else found["note"]
