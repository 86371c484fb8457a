"""Retention: deleting tasks that ended long ago, and erasing the content of one while its figures stay."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from tether.errors import Conflict
from tether.lifecycle import FINAL, State
from tether.store.access_tables import audit, deliveries, secrets
from tether.store.intents import locked
from tether.store.payloads import pack
from tether.store.reading import Reading
from tether.store.tables import (
    approvals,
    artifacts,
    attempts,
    budgets,
    calls,
    checkpoints,
    events,
    payloads,
    recordings,
    tags,
    tasks,
)
from tether.store.writing import Writing

__all__ = ["erase", "prune", "with_content"]

_OF_TASKS = (secrets, deliveries, tags, payloads, attempts, events, checkpoints, budgets, calls, approvals, artifacts, recordings)
#: Events whose data is only figures and names; of all others erasing empties the data.
_FIGURES = ("call_started", "call_ended", "step_started", "step_ended", "budget_warning", "attempt_started", "checkpoint_saved")


def prune(tx: Writing, older_than_s: float, limit: int) -> list[str]:
    """Delete tasks that ended before, oldest first; returns their ids."""
    before = tx.now_ms - int(older_than_s * 1000)
    query = select(tasks.c.id).where(tasks.c.ended_at_ms.is_not(None), tasks.c.ended_at_ms < before)
    ids = [row.id for row in tx.all(query.order_by(tasks.c.ended_at_ms).limit(limit))]
    ended = [row.id for task_id, row in tx.lock(ids).items() if task_id in ids and row.ended_at_ms is not None]
    for table in _OF_TASKS:
        tx.run(delete(table).where(table.c.task_id.in_(ended)))
    tx.run(delete(tasks).where(tasks.c.id.in_(ended)))
    return ended


def erase(tx: Writing, task_id: str, tenant: str | None) -> None:
    """Raises NotFound; Conflict while the task is not final."""
    row = locked(tx, task_id, tenant)
    if State(row.state) not in FINAL:
        raise Conflict(f"{task_id} is {row.state}; cancel it first")
    for table in (secrets, tags, payloads, checkpoints, artifacts, recordings):
        tx.run(delete(table).where(table.c.task_id == task_id))
    empty = pack({})
    tx.run(update(events).where(events.c.task_id == task_id, events.c.type.not_in(_FIGURES)).values(data=empty))
    tx.run(update(approvals).where(approvals.c.task_id == task_id).values(question="", details=empty, decision=None))
    tx.run(update(audit).where(audit.c.object == task_id).values(detail=empty))
    tx.run(update(attempts).where(attempts.c.task_id == task_id).values(message=None))
    row.put(message="", note="", user=None, idempotency_key=None, idempotency_hash=None, revision=row.revision + 1)


def with_content(tx: Reading, task_ids: Sequence[str]) -> dict[str, bool]:
    """Task id -> whether its specification is still there, of those that exist."""
    known = tx.all(select(tasks.c.id).where(tasks.c.id.in_(list(task_ids))))
    specs = tx.all(select(payloads.c.task_id).where(payloads.c.task_id.in_(list(task_ids)), payloads.c.name == "spec"))
    kept = {row.task_id for row in specs}
    return {row.id: row.id in kept for row in known}
