"""Pauses and the questions that go with them: asking a human, and the default question of each reason."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, update

from tether.events import NewEvent, redact
from tether.lifecycle import Change, Reason, State
from tether.messages import brief
from tether.store.moves import move
from tether.store.payloads import pack, plain
from tether.store.prepared import Prepared
from tether.store.rows import NewApproval
from tether.store.tables import approvals
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing
from tether.task import ApprovalKind

__all__ = ["ask", "escalate", "fail", "pause"]

_insert = Prepared(insert(approvals))
_supersede = Prepared(
    update(approvals)
    .where(approvals.c.task_id == bindparam("b_task"), approvals.c.state == "open")
    .values(state="expired", decided_at_ms=bindparam("b_now"))
)
_KINDS = {
    Reason.BUDGET: ApprovalKind.BUDGET,
    Reason.APPROVAL: ApprovalKind.APPROVAL,
    Reason.QUESTION: ApprovalKind.QUESTION,
    Reason.ESCALATED: ApprovalKind.ESCALATED,
    Reason.STUCK: ApprovalKind.STUCK,
}


def ask(tx: Writing, row: TaskRow, new: NewApproval) -> str:
    """Open a question (an older open one is closed: a task asks one thing at a time); returns its id."""
    tx.put(_supersede, {"b_task": row.id, "b_now": tx.now_ms})
    tx.put(
        _insert,
        {
            "id": new.id,
            "task_id": row.id,
            "tenant": row.tenant,
            "kind": new.kind,
            "question": plain(new.question, 20_000),
            "key": None if new.key is None else plain(new.key),
            "state": "open",
            "details": pack(redact(new.details)),
            "created_at_ms": tx.now_ms,
            "expires_at_ms": tx.now_ms + int(row.limits().approval_s * 1000),
        },
    )
    data = {"approval": new.id, "kind": new.kind, "question": new.question, "key": new.key}
    tx.note(row, NewEvent(type="approval_asked", attempt=row.attempt or None, data=data))
    return new.id


def pause(
    tx: Writing,
    row: TaskRow,
    reason: Reason,
    *,
    detail: str = "",
    approval: NewApproval | None = None,
    hold: str | None = None,
) -> None:
    """Pause a queued or running task; every reason but `operator` has an open question to decide.

    hold: id of the hold that stopped its calls; the task goes on by itself once that is released (holding.resume).
    """
    asked: str | None = None
    row.unwant("hold")
    if hold is not None:
        row.want("hold", note=hold)
    if reason in _KINDS:
        asked = ask(tx, row, approval or NewApproval(kind=_KINDS[reason], question=detail or brief(reason)))
    data = {"reason": str(reason), "approval": asked, "message": detail or brief(reason)}
    event = NewEvent(type="task_paused", attempt=row.attempt or None, data=data)
    move(tx, row, Change.PAUSE, reason, detail=detail, event=event)


def escalate(tx: Writing, row: TaskRow, *, by: str, note: str = "", approval: NewApproval | None = None) -> None:
    """Ask a human to take over a task in any state but succeeded; the caller has freed its lease."""
    was_paused = row.state == State.PAUSED
    event = NewEvent(type="task_escalated", data={"by": by, "note": note})
    move(tx, row, Change.ESCALATE, Reason.ESCALATED, detail=note, event=event)
    asked = ask(tx, row, approval or NewApproval(kind=ApprovalKind.ESCALATED, question=note or brief(Reason.ESCALATED)))
    if not was_paused:
        data = {"reason": str(Reason.ESCALATED), "approval": asked, "message": note or brief(Reason.ESCALATED)}
        tx.note(row, NewEvent(type="task_paused", attempt=row.attempt or None, data=data))


def fail(tx: Writing, row: TaskRow, change: Change, reason: Reason, detail: str = "") -> None:
    """End a task without success (change: FAIL, EXPIRE or REJECT)."""
    data = {"reason": str(reason), "message": detail or brief(reason)}
    event = NewEvent(type="task_failed", attempt=row.attempt or None, data=data)
    move(tx, row, change, reason, detail=detail, event=event)
