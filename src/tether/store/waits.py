"""Waiting has an end too: queue_s for a worker, approval_s for a human."""

from __future__ import annotations

from sqlalchemy import select

from tether.events import NewEvent
from tether.lifecycle import Change, Reason, State
from tether.store import asking, moves
from tether.store.reading import Reading
from tether.store.rows import Expired
from tether.store.tables import approvals, tasks
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing

__all__ = ["expire", "overdue"]

_FOR_WORKER = "No worker took it within {s:g} s."
_FOR_HUMAN = "Nobody decided within {s:g} s."


def overdue(tx: Reading, limit: int) -> list[str]:
    """Ids of tasks that waited too long."""
    query = select(tasks.c.id).where(tasks.c.wait_until_ms.is_not(None), tasks.c.wait_until_ms <= tx.now_ms)
    return [row.id for row in tx.all(query.order_by(tasks.c.wait_until_ms).limit(limit))]


def expire(tx: Writing, limit: int) -> list[Expired]:
    """Fail them, unless they moved on meanwhile."""
    ids = overdue(tx, limit)
    rows = [row for task_id, row in tx.lock(ids).items() if task_id in ids]
    return [_expire(tx, row) for row in rows if row.wait_until_ms is not None and row.wait_until_ms <= tx.now_ms]


def _expire(tx: Writing, row: TaskRow) -> Expired:
    if row.state == State.QUEUED:
        asking.fail(tx, row, Change.EXPIRE, Reason.EXPIRED, _FOR_WORKER.format(s=row.limits().queue_s))
        return Expired(task_id=row.id, waited_for="worker")
    if row.lease_token is not None:
        moves.free_lease(tx, row, "failed", str(Reason.EXPIRED))
    found = tx.one(select(approvals.c.id).where(approvals.c.task_id == row.id, approvals.c.state == "open"))
    if found is not None:
        tx.note(row, NewEvent(type="approval_expired", data={"approval": found.id}))
    asking.fail(tx, row, Change.EXPIRE, Reason.EXPIRED, _FOR_HUMAN.format(s=row.limits().approval_s))
    return Expired(task_id=row.id, waited_for="human")
