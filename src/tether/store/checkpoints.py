"""Checkpoints as chains: a whole state, then deltas on it; folded into a new whole one before a chain grows long."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from tether.deltas import apply_delta
from tether.errors import Conflict, ValidationError
from tether.events import NewEvent
from tether.store.payloads import pack, unpack
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Checkpoint, NewCheckpoint
from tether.store.tables import checkpoints
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing

__all__ = ["CHAIN", "must_fold", "read", "save"]

CHAIN = 20  # deltas after which a whole state is written, so that resuming reads a bounded number of rows
_insert = Prepared(insert(checkpoints))
_forget = Prepared(
    delete(checkpoints).where(checkpoints.c.task_id == bindparam("b_task"), checkpoints.c.number < bindparam("b_number"))
)


def must_fold(row: TaskRow, new: NewCheckpoint) -> bool:
    """Whether saving this one will read the chain (pending writes must be flushed before)."""
    return new.base is not None and new.number - row.checkpoint_base >= CHAIN


def save(tx: Writing, row: TaskRow, new: NewCheckpoint, attempt: int) -> None:
    """Store a checkpoint of a locked task and its event. Raises Conflict (wrong number), ValidationError (wrong delta)."""
    _check(row, new)
    whole, state = new.base is None, new.state
    if must_fold(row, new):
        whole, state = True, _fold(tx, row, new)
    data = pack(state)
    event = {"number": new.number, "bytes": len(data), "kind": "base" if whole else "delta"}
    seq = tx.note(row, NewEvent(type="checkpoint_saved", attempt=attempt, step=new.step, data=event))
    if whole:
        # What composes the number before this one stays until the next whole state.
        tx.put(_forget, {"b_task": row.id, "b_number": row.checkpoint_base})
    row.put(needs=max(row.needs, new.release))
    row.put(checkpoint=new.number, checkpoint_base=new.number if whole else row.checkpoint_base)
    tx.put(
        _insert,
        {
            "task_id": row.id,
            "number": new.number,
            "base": row.checkpoint_base,
            "attempt": attempt,
            "step": new.step,
            "seq": seq,
            "agent_version": new.agent_version,
            "created_at_ms": tx.now_ms,
            "data": data,
        },
    )


def _check(row: TaskRow, new: NewCheckpoint) -> None:
    if new.base is None:
        if new.number <= row.checkpoint:
            raise Conflict(f"checkpoint {new.number} of {row.id} is not newer than {row.checkpoint}")
    elif new.base != row.checkpoint or row.checkpoint == 0 or new.number != new.base + 1:
        raise Conflict(f"checkpoint {new.number} of {row.id} is a delta on {new.base}, but the newest is {row.checkpoint}")
    elif not _is_delta(new.state):
        raise ValidationError("checkpoint", "is not a delta on an object", 'use {"append": {…}, "set": {…}}')


def _is_delta(value: Any) -> bool:
    return (
        isinstance(value, dict) and value.keys() <= {"append", "set"} and all(isinstance(part, dict) for part in value.values())
    )


def _fold(tx: Writing, row: TaskRow, new: NewCheckpoint) -> Any:
    reached, state = _compose(tx, row.id, row.checkpoint_base, new.number - 1)
    if reached != new.number - 1:
        raise ValidationError("checkpoint", f"the delta {reached + 1} before it does not fit", "send the whole state")
    return apply_delta(state, new.state)


def read(tx: Reading, task_id: str, number: int | None = None) -> tuple[Checkpoint, int] | None:
    """A checkpoint (the newest by default), composed, and the seq of its event; None when it is not kept."""
    at = select(checkpoints).where(checkpoints.c.task_id == task_id).order_by(checkpoints.c.number.desc())
    found = tx.one(at if number is None else at.where(checkpoints.c.number == number))
    if found is None:
        return None
    reached, state = _compose(tx, task_id, found.base, found.number)
    if reached != found.number:
        # A delta that does not fit is as good as none; what was composed before it still stands.
        return read(tx, task_id, reached)
    checkpoint = Checkpoint(
        number=found.number,
        attempt=found.attempt,
        step=found.step,
        agent_version=found.agent_version,
        state=state,
        created_at_ms=found.created_at_ms,
    )
    return checkpoint, found.seq


def _compose(tx: Reading, task_id: str, base: int, number: int) -> tuple[int, Any]:
    """The state after the last delta up to `number` that fits, and which one that was."""
    query = (
        select(checkpoints.c.number, checkpoints.c.data)
        .where(checkpoints.c.task_id == task_id, checkpoints.c.number.between(base, number))
        .order_by(checkpoints.c.number)
    )
    rows = tx.all(query)
    reached, state = rows[0].number, unpack(rows[0].data)
    for row in rows[1:]:
        try:
            state = apply_delta(state, unpack(row.data))
        except ValidationError:
            break
        reached = row.number
    return reached, state
