"""What clients do to a task: at once where nobody leases it, as a wish for the lease holder otherwise."""

from __future__ import annotations

from sqlalchemy import select

from tether.errors import Conflict, NotFound
from tether.events import NewEvent
from tether.lifecycle import Change, Reason, State, apply
from tether.store import asking, moves
from tether.store.access_tables import secrets
from tether.store.documents import approval_of, read_payloads
from tether.store.rows import NewApproval
from tether.store.tables import approvals
from tether.store.taskrow import TaskRow
from tether.store.wants import resume as _resume
from tether.store.writing import Writing
from tether.task import ApprovalKind

__all__ = ["cancel", "escalate", "locked", "pause", "resume", "retry"]


def locked(tx: Writing, task_id: str, tenant: str | None) -> TaskRow:
    """The task's row, locked. Raises NotFound, also for another tenant's."""
    row = tx.lock_one(task_id)
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("task", task_id)
    return row


def _wish(tx: Writing, row: TaskRow, kind: str, by: str, note: str) -> None:
    row.want(kind, by, note)
    row.put(revision=row.revision + 1, updated_at_ms=tx.now_ms)
    if kind in ("pause", "cancel"):
        tx.note(row, NewEvent(type=f"{kind}_requested", attempt=row.attempt, data={"by": by}))


def pause(tx: Writing, task_id: str, by: str, note: str, tenant: str | None) -> None:
    """Reason operator; nothing happens when it is paused or being paused already, but no release of a hold resumes it then."""
    row = locked(tx, task_id, tenant)
    held = row.state == State.PAUSED and "hold" in row.wanted()
    if held and row.lease_token is None:
        row.unwant("hold")
    elif (row.state == State.PAUSED and not held) or "pause" in row.wanted():
        return
    elif row.lease_token is None:
        asking.pause(tx, row, Reason.OPERATOR, detail=note)
    else:
        _wish(tx, row, "pause", by, note)


def cancel(tx: Writing, task_id: str, by: str, note: str, tenant: str | None) -> None:
    """Nothing happens when it is cancelled or being cancelled already."""
    row = locked(tx, task_id, tenant)
    if row.state == State.CANCELLED or "cancel" in row.wanted():
        return
    if row.lease_token is None:
        moves.cancel(tx, row, by, note)
    else:
        apply(State(row.state), Change.CANCEL, Reason.CANCELLED)
        _wish(tx, row, "cancel", by, note)


def resume(tx: Writing, task_id: str, by: str, note: str, tenant: str | None) -> None:
    """Of an operator's pause; what waits for a decision needs that decision."""
    row = locked(tx, task_id, tenant)
    if row.state == State.RUNNING and "pause" in row.wanted():
        row.unwant("pause")
        row.put(revision=row.revision + 1, updated_at_ms=tx.now_ms)
    elif row.state == State.PAUSED and row.reason != Reason.OPERATOR:
        raise Conflict(f"{task_id} waits for a decision ({row.reason}); approve, answer or reject it")
    elif row.parked:
        _wish(tx, row, "unpark", by, note)
    else:
        _resume(tx, row, by, note)


def retry(tx: Writing, task_id: str, by: str, note: str, tenant: str | None) -> None:
    """A fresh set of attempts and a fresh task clock, from the last checkpoint; spend stays counted."""
    row = locked(tx, task_id, tenant)
    if not read_payloads(tx, [task_id], ["spec"]):
        raise Conflict(f"{task_id} was erased; submit the task again")
    if tx.one(select(secrets.c.task_id).where(secrets.c.task_id == task_id, secrets.c.data.is_(None))) is not None:
        raise Conflict(f"the secrets of {task_id} were erased when it ended; submit the task again with them")
    data = {"by": by, "note": note, "from_checkpoint": row.checkpoint or None}
    moves.move(tx, row, Change.RETRY, event=NewEvent(type="task_retried", data=data))
    row.put(failures=0, losses=0, active_ms=0)


def escalate(tx: Writing, task_id: str, by: str, note: str, tenant: str | None) -> None:
    """To a human; what it waited for so far is kept in the new question."""
    row = locked(tx, task_id, tenant)
    if row.lease_token is not None and not row.parked:
        apply(State(row.state), Change.ESCALATE, Reason.ESCALATED)
        if "escalate" not in row.wanted():
            _wish(tx, row, "escalate", by, note)
    else:
        asking.escalate(tx, row, by=by, note=note, approval=_taken_over(tx, row, note))


def _taken_over(tx: Writing, row: TaskRow, note: str) -> NewApproval | None:
    """The open question under a new name, so that deciding it still answers what was asked; None when there is none."""
    found = tx.one(select(approvals).where(approvals.c.task_id == row.id, approvals.c.state == "open"))
    if found is None:
        return None
    before = approval_of(found)
    details = {**before.details, "was": before.details.get("was", before.kind), "note": note}
    return NewApproval(kind=ApprovalKind.ESCALATED, question=before.question, details=details, key=before.key)
