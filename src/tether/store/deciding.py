"""Decisions of humans on open approvals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select, update

from tether.errors import Conflict, NotFound, ValidationError
from tether.events import NewEvent
from tether.lifecycle import Change, Reason, State
from tether.store import asking
from tether.store.documents import approval_of, read_counters
from tether.store.limits import LIMITS
from tether.store.payloads import pack, plain
from tether.store.prepared import Prepared
from tether.store.rows import Counters
from tether.store.tables import approvals
from tether.store.taskrow import TaskRow
from tether.store.updating import set_budget
from tether.store.wants import resume
from tether.store.writing import Writing
from tether.task import Answer, Approval, ApprovalKind

__all__ = ["decide"]

_OUTCOMES = {"approve": "approved", "reject": "rejected", "edit": "answered", "answer": "answered"}
_close = Prepared(
    update(approvals)
    .where(approvals.c.id == bindparam("b_id"), approvals.c.state == "open")
    .values(
        state=bindparam("b_state"),
        decision=bindparam("b_decision"),
        decided_at_ms=bindparam("b_now"),
        decided_by=bindparam("b_by"),
    )
)


def decide(tx: Writing, approval_id: str, answer: Answer, tenant: str | None) -> str:
    """Returns the task's id. Raises NotFound, Conflict, ValidationError."""
    approval, row = _open(tx, approval_id, tenant)
    _check(approval, answer)
    if answer.decision != "reject":
        _spend_more(tx, row, approval, answer)
    _record(tx, row, approval, answer)
    if row.parked:
        row.want("reject" if answer.decision == "reject" else "unpark", answer.by, answer.comment)
        row.put(revision=row.revision + 1, updated_at_ms=tx.now_ms)
    elif answer.decision == "reject":
        asking.fail(tx, row, Change.REJECT, Reason.REJECTED, answer.comment)
    else:
        resume(tx, row, answer.by, answer.comment)
    return row.id


def _open(tx: Writing, approval_id: str, tenant: str | None) -> tuple[Approval, TaskRow]:
    """The approval, read again once its task is locked."""
    query = select(approvals).where(approvals.c.id == approval_id)
    found = tx.one(query)
    if found is None or (tenant is not None and found.tenant != tenant):
        raise NotFound("approval", approval_id)
    row = tx.lock_one(found.task_id)
    found = tx.one(query)
    if row is None or found is None:
        raise NotFound("approval", approval_id)
    if found.state != "open" or row.state != State.PAUSED:
        raise Conflict(f"{approval_id} is {found.state} already")
    return approval_of(found), row


def _check(approval: Approval, answer: Answer) -> None:
    kind = approval.details.get("was", approval.kind)
    if kind == ApprovalKind.QUESTION and answer.decision == "approve" and not answer.text:
        raise Conflict(f"{approval.id} is a question; answer it with a text")
    if kind != ApprovalKind.QUESTION and answer.decision == "answer" and approval.key is None:
        raise Conflict(f"{approval.id} asks for approval ({kind}), not for an answer; approve or reject it")
    if answer.decision in ("answer", "edit") and not answer.text:
        raise ValidationError("text", "is empty", "say what the agent should get")


def _spend_more(tx: Writing, row: TaskRow, approval: Approval, answer: Answer) -> None:
    """Add what was approved; a budget pause that would come back at once is refused."""
    counters = read_counters(tx, [row.id])[row.id]
    if answer.add:
        counters = set_budget(tx, row, counters.budget().plus(answer.add))
    limit = approval.details.get("limit")
    if approval.details.get("was", approval.kind) == ApprovalKind.BUDGET and _exhausted(counters, limit):
        raise ValidationError("add", f"leaves {limit} used up", f'add to it, for example add={{"{limit}": {_some(limit)}}}')


def _exhausted(counters: Counters, key: Any) -> bool:
    return any(limit.key == key and limit.taken(counters) >= limit.most(counters) for limit in LIMITS)


def _some(key: Any) -> int:
    return {"max_usd": 5, "max_tokens": 1_000_000}.get(key, 50)


def _record(tx: Writing, row: TaskRow, approval: Approval, answer: Answer) -> None:
    decision = {"decision": answer.decision, "add": dict(answer.add), "text": answer.text, "comment": answer.comment}
    values = {
        "b_id": approval.id,
        "b_state": _OUTCOMES[answer.decision],
        "b_decision": pack(decision),
        "b_now": tx.now_ms,
        "b_by": plain(answer.by),
    }
    tx.put(_close, values)
    data = {"approval": approval.id, "by": answer.by, **decision}
    tx.note(row, NewEvent(type="approval_decided", attempt=row.attempt or None, data=data))
