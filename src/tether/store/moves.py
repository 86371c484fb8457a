"""Changes of state on a locked row: the transition table is applied, the row follows, the event is written."""

from __future__ import annotations

from sqlalchemy import bindparam, update

from tether.events import NewEvent
from tether.lifecycle import FINAL, Change, Reason, State, apply
from tether.messages import brief
from tether.store.access_tables import secrets
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.tables import approvals, attempts, budgets
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing

__all__ = ["cancel", "close_attempt", "free_lease", "move", "requeue", "set_timers"]

_close_approvals = Prepared(
    update(approvals)
    .where(approvals.c.task_id == bindparam("b_task"), approvals.c.state == "open")
    .values(state="expired", decided_at_ms=bindparam("b_now"))
)
_close_attempt = Prepared(
    update(attempts)
    .where(attempts.c.task_id == bindparam("b_task"), attempts.c.number == bindparam("b_number"))
    .values(
        state=bindparam("b_state"), reason=bindparam("b_reason"), message=bindparam("b_message"), ended_at_ms=bindparam("b_now")
    )
)
_erase_secrets = Prepared(update(secrets).where(secrets.c.task_id == bindparam("b_task")).values(data=None))
_close_budget = Prepared(update(budgets).where(budgets.c.task_id == bindparam("b_task")).values(open=0, lease_token=None))


def move(
    tx: Writing,
    row: TaskRow,
    change: Change,
    reason: Reason | None = None,
    *,
    detail: str = "",
    delay_s: float = 0.0,
    event: NewEvent | None = None,
) -> None:
    """Apply `change` to the task and append its event. Raises IllegalTransition, and then nothing is changed."""
    after = apply(State(row.state), change, reason)
    row.put(
        state=str(after),
        reason=None if reason is None else str(reason),
        message=plain(detail),
        revision=row.revision + 1,
        updated_at_ms=tx.now_ms,
        since_ms=tx.now_ms,
        ready_ms=tx.now_ms + int(delay_s * 1000) if delay_s > 0 else None,
        wake=int(after is State.QUEUED),
        ended_at_ms=tx.now_ms if after in FINAL else None,
    )
    set_timers(row)
    if after in FINAL:
        row.unwant()
        tx.put(_close_approvals, {"b_task": row.id, "b_now": tx.now_ms})
        tx.put(_erase_secrets, {"b_task": row.id})
    if event is not None:
        tx.note(row, event)


def set_timers(row: TaskRow) -> None:
    """When the task fails for waiting: queue_s after it may start, approval_s after it paused; never in other states."""
    if row.state == State.QUEUED:
        row.put(wait_until_ms=max(row.since_ms, row.ready_ms or 0) + int(row.limits().queue_s * 1000))
    elif row.state == State.PAUSED:
        row.put(wait_until_ms=row.since_ms + int(row.limits().approval_s * 1000))
    else:
        row.put(wait_until_ms=None)


def free_lease(tx: Writing, row: TaskRow, state: str, reason: str | None, message: str = "") -> None:
    """End the attempt that holds the task: its row is closed, its budget too, its token is worth nothing."""
    close_attempt(tx, row, state, reason, message)
    tx.put(_close_budget, {"b_task": row.id})
    row.put(lease_token=None, worker_id=None, parked=0)


def close_attempt(tx: Writing, row: TaskRow, state: str, reason: str | None, message: str) -> None:
    """Close the row of the newest attempt."""
    tx.put(
        _close_attempt,
        {
            "b_task": row.id,
            "b_number": row.attempt,
            "b_state": state,
            "b_reason": reason,
            "b_message": plain(message) or None,
            "b_now": tx.now_ms,
        },
    )


def requeue(tx: Writing, row: TaskRow, reason: Reason, *, detail: str = "", delay_s: float = 0.0) -> None:
    """Another attempt follows, not before delay_s seconds from now."""
    data = {"reason": str(reason), "delay_s": delay_s, "failures": row.failures}
    event = NewEvent(type="task_requeued", attempt=row.attempt, data=data)
    move(tx, row, Change.REQUEUE, reason, detail=detail, delay_s=delay_s, event=event)


def cancel(tx: Writing, row: TaskRow, by: str, note: str = "") -> None:
    """The task ends as cancelled."""
    data = {"by": by, "message": note or brief(Reason.CANCELLED)}
    move(tx, row, Change.CANCEL, Reason.CANCELLED, detail=note, event=NewEvent(type="task_cancelled", data=data))
