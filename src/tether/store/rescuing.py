"""Rescue: tasks of workers that are gone stand in line again; one whose workers keep dying is put before a human."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_, select, update

from tether.events import NewEvent
from tether.lifecycle import Reason, State
from tether.store import asking, moves
from tether.store.reading import Reading
from tether.store.rows import NewApproval, Rescued
from tether.store.settling import settle_orphans
from tether.store.tables import tasks, workers
from tether.store.taskrow import TaskRow
from tether.store.wants import honour
from tether.store.writing import Writing
from tether.task import ApprovalKind

__all__ = ["give_up", "rescue", "worth_rescuing"]

_WORKING = ("live", "draining")
_AT_ONCE = 200
_abandoned = and_(tasks.c.lease_token.is_not(None), or_(workers.c.id.is_(None), workers.c.state.not_in(_WORKING)))
_orphans = (
    select(tasks.c.id)
    .outerjoin(workers, workers.c.id == tasks.c.worker_id)
    .where(_abandoned)
    .order_by(tasks.c.id)
    .limit(_AT_ONCE)
)


def worth_rescuing(tx: Reading, dead: Sequence[str], grace_s: float) -> bool:
    """Whether there is anything to do; asked without a lock."""
    return bool(_gone(tx, dead, grace_s)) or tx.one(_orphans) is not None


def _gone(tx: Reading, dead: Sequence[str], grace_s: float, *, locked: bool = False) -> list[str]:
    late = workers.c.lease_until_ms < tx.now_ms - int(grace_s * 1000)
    query = select(workers.c.id).where(workers.c.state.in_(_WORKING), or_(late, workers.c.id.in_(dead))).order_by(workers.c.id)
    return [row.id for row in tx.all(tx.dialect.locked(query, skip=True) if locked else query)]


def give_up(tx: Writing, dead: Sequence[str], grace_s: float) -> None:
    """Mark the workers that are gone; from here on their heartbeats are refused."""
    late = workers.c.lease_until_ms < tx.now_ms - int(grace_s * 1000)
    for worker_id in _gone(tx, dead, grace_s, locked=True):
        # Asked again in the UPDATE: a beat may have come in between.
        known_dead = worker_id in dead
        statement = update(workers).where(workers.c.id == worker_id, workers.c.state.in_(_WORKING))
        tx.run((statement if known_dead else statement.where(late)).values(state="lost"))


def rescue(tx: Writing, found_by: str, quarantine_after: int) -> list[Rescued]:
    """One batch of tasks whose worker is given up; empty when there are none left that nobody else has locked."""
    candidates = [row.id for row in tx.all(_orphans)]
    tokens: list[str] = []
    rescued: list[Rescued] = []
    for row in list(tx.lock(candidates, skip=True).values()):
        if row.lease_token is None or not _still_abandoned(tx, row):
            continue
        tokens.append(row.lease_token)
        rescued.append(_rescue(tx, row, found_by, quarantine_after))
    tx.flush()
    while tokens and settle_orphans(tx, tokens, None, 500) == 500:
        tx.flush()
    return rescued


def _still_abandoned(tx: Writing, row: TaskRow) -> bool:
    found = tx.one(select(workers.c.state).where(workers.c.id == row.worker_id))
    return found is None or found.state not in _WORKING


def _rescue(tx: Writing, row: TaskRow, found_by: str, quarantine_after: int) -> Rescued:
    worker_id, token = row.worker_id or "", row.lease_token or ""
    data = {"worker": worker_id, "found_by": found_by}
    tx.note(row, NewEvent(type="attempt_lost", attempt=row.attempt, data=data))
    same = row.losses_at == row.checkpoint and row.losses > 0
    row.put(losses=row.losses + 1 if same else 1, losses_at=row.checkpoint)
    moves.free_lease(tx, row, "failed", str(Reason.WORKER_LOST), f"The worker {worker_id} was lost.")
    if row.state == State.RUNNING and row.losses >= quarantine_after:
        _quarantine(tx, row)
    elif row.state == State.RUNNING:
        moves.requeue(tx, row, Reason.WORKER_LOST)
    honour(tx, row)
    return Rescued(
        task_id=row.id, attempt=row.attempt, worker_id=worker_id, lease_token=token, state=row.state, reason=row.reason
    )


def _quarantine(tx: Writing, row: TaskRow) -> None:
    where = f"after checkpoint {row.checkpoint}" if row.checkpoint else "before its first checkpoint"
    text = f"Its worker died {row.losses} times {where}; it may be what kills them."
    details = {"losses": row.losses, "checkpoint": row.checkpoint or None, "quarantine": True}
    question = f"{text} Approve to try it once more, or reject to end it."
    asking.pause(
        tx,
        row,
        Reason.ESCALATED,
        detail=text,
        approval=NewApproval(kind=ApprovalKind.ESCALATED, question=question, details=details),
    )
