"""Claiming: queued tasks become leased ones, each with everything an attempt needs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable, and_, bindparam, insert, literal_column, select, update

from tether.lifecycle import Change, State
from tether.store import checkpoints
from tether.store.access_tables import secrets as sealed_secrets
from tether.store.dialect import Dialect
from tether.store.documents import COUNTERS, approval_of, counters_of
from tether.store.moves import move
from tether.store.payloads import unpack
from tether.store.prepared import Prepared, among, listed
from tether.store.reading import Reading
from tether.store.rows import Checkpoint, Claim, Counters, ToolRecord
from tether.store.tables import approvals, attempts, budgets, events, payloads, tasks, workers
from tether.store.taskrow import TaskRow
from tether.store.waiting import Wanted, candidates
from tether.store.writing import Writing
from tether.task import Approval, Task

__all__ = ["claim", "due", "promote", "worth_claiming"]

_insert_attempt = Prepared(insert(attempts))
_open_budget = Prepared(
    update(budgets).where(budgets.c.task_id == bindparam("b_task")).values(open=1, lease_token=bindparam("b_lease"))
)
_worker = Prepared(
    lambda dialect: select(dialect.now_ms(), workers.c.state, workers.c.lease_until_ms).where(workers.c.id == bindparam("b_id"))
)
_PROMOTED_AT_ONCE = 500
_TOOLS_READ = 2000
# Written out, because a partial index is only used where its condition is seen in the statement.
_queued = literal_column("tasks.state = 'queued' AND tasks.ready_ms IS NULL")
_delayed = literal_column("tasks.state = 'queued' AND tasks.ready_ms IS NOT NULL")
_due = Prepared(select(tasks.c.id).where(_delayed, tasks.c.ready_ms <= bindparam("b_now")).limit(1))


def _all_due(dialect: Dialect) -> Executable:
    query = select(tasks.c.id).where(_delayed, tasks.c.ready_ms <= bindparam("b_now")).order_by(tasks.c.ready_ms)
    return dialect.locked(query.limit(_PROMOTED_AT_ONCE), skip=True)


_lock_due = Prepared(_all_due)


def worth_claiming(tx: Reading, agents: Sequence[str]) -> bool:
    """Whether a claim could find something; asked without a lock, so that an idle worker never disturbs the writer."""
    ready = select(tasks.c.id).where(_queued, tasks.c.agent.in_(agents)).limit(1)
    return tx.one(ready) is not None or due(tx)


def due(tx: Reading) -> bool:
    """Whether the time of a delayed task has come."""
    return tx.one(_due, {"b_now": tx.now_ms}) is not None


def promote(tx: Writing) -> None:
    """Tasks whose time has come stand in line with the others."""
    found = [row.id for row in tx.all(_lock_due, {"b_now": tx.now_ms})]
    for row in tx.lock(found).values():
        row.put(ready_ms=None)
    tx.flush()


def claim(tx: Writing, worker_id: str, wanted: Wanted, n: int) -> list[Claim]:
    """Lease up to n tasks to a live worker."""
    if n <= 0 or not _is_live(tx, worker_id):
        return []
    promote(tx)
    rows = candidates(tx, wanted, n)
    for row in rows:
        tx.rows[row.id] = row
    before = {row.id: row.reason for row in rows}
    kept = _kept(tx, [row.id for row in rows])
    claims: list[Claim] = []
    for row in rows:
        found = checkpoints.read(tx, row.id) if row.checkpoint else None
        _lease(tx, row, worker_id, kept[row.id].counters.epoch, found[0] if found else None)
        claims.append(
            Claim(
                task_id=row.id,
                lease_token=row.lease_token or "",
                attempt=row.attempt,
                task=Task.of(kept[row.id].spec),
                counters=kept[row.id].counters,
                timeouts=row.limits(),
                agent_version=row.agent_version,
                active_s=row.active_ms / 1000,
                failures=row.failures,
                losses=row.losses,
                last_step=kept[row.id].counters.steps,
                checkpoint=found[0] if found else None,
                partial=kept[row.id].partial,
                answers=_answers(tx, row),
                tools=_tools(tx, row, found[1] if found else 0),
                reason=before[row.id],
                approval=_decided(tx, row),
                created_at_ms=row.created_at_ms,
                claimed_at_ms=tx.now_ms,
                sealed=kept[row.id].sealed,
            )
        )
    return claims


def _is_live(tx: Writing, worker_id: str) -> bool:
    """Whether the worker may claim; the clock comes with the answer."""
    row = tx.one(_worker, {"b_id": worker_id})
    if row is None:
        return False
    tx.now_ms = row[0]
    return row.state == "live" and row.lease_until_ms > tx.now_ms


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is kept of a task beside its row."""

    counters: Counters
    spec: Any
    partial: Any
    sealed: bytes | None


def _kept(tx: Writing, task_ids: Sequence[str]) -> dict[str, _Kept]:
    if not task_ids:
        return {}
    given = listed(task_ids)
    return {
        row.task_id: _Kept(counters=counters_of(row), spec=unpack(row.spec), partial=unpack(row.partial), sealed=row.sealed)
        for row in tx.all(_kept_of(len(given)), given)
    }


@lru_cache(maxsize=16)
def _kept_of(size: int) -> Prepared:
    spec, partial, task_id = payloads.alias("spec"), payloads.alias("partial"), budgets.c.task_id
    return Prepared(
        select(
            *COUNTERS, task_id, spec.c.data.label("spec"), partial.c.data.label("partial"), sealed_secrets.c.data.label("sealed")
        )
        .join(spec, and_(spec.c.task_id == task_id, spec.c.name == "spec"))
        .outerjoin(partial, and_(partial.c.task_id == task_id, partial.c.name == "partial"))
        .outerjoin(sealed_secrets, sealed_secrets.c.task_id == task_id)
        .where(among(task_id, size))
    )


def _lease(tx: Writing, row: TaskRow, worker_id: str, epoch: int, checkpoint: Checkpoint | None) -> None:
    move(tx, row, Change.CLAIM)
    number = checkpoint.number if checkpoint else 0
    row.put(
        attempt=row.attempt + 1,
        lease_token=f"lease_{secrets.token_urlsafe(18)}",
        worker_id=worker_id,
        claimed_epoch=epoch,
        checkpoint=number,
        wants="",
    )
    tx.put(_open_budget, {"b_task": row.id, "b_lease": row.lease_token})
    tx.put(
        _insert_attempt,
        {
            "task_id": row.id,
            "number": row.attempt,
            "lease_token": row.lease_token,
            "worker_id": worker_id,
            "state": str(State.RUNNING),
            "isolation": "{}",
            "agent_version": row.agent_version,
            "from_checkpoint": number,
            "active_ms": 0,
            "started_at_ms": tx.now_ms,
        },
    )


def _answers(tx: Reading, row: TaskRow) -> dict[str, str]:
    if row.attempt == 1:
        return {}
    query = select(approvals.c.key, approvals.c.decision).where(
        approvals.c.task_id == row.id, approvals.c.key.is_not(None), approvals.c.state.in_(("answered", "approved"))
    )
    return {found.key: unpack(found.decision).get("text", "") for found in tx.all(query.order_by(approvals.c.id))}


def _decided(tx: Reading, row: TaskRow) -> Approval | None:
    if row.attempt == 1:
        return None
    query = select(approvals).where(approvals.c.task_id == row.id, approvals.c.decided_by.is_not(None))
    found = tx.one(query.order_by(approvals.c.id.desc()).limit(1))
    return approval_of(found) if found else None


def _tools(tx: Reading, row: TaskRow, after: int) -> dict[str, ToolRecord]:
    """What the agent's tools did since the checkpoint, so that a finished call is not repeated."""
    if row.attempt == 1:
        return {}
    query = (
        select(events.c.type, events.c.data)
        .where(events.c.task_id == row.id, events.c.seq > after, events.c.type.in_(("tool_started", "tool_ended")))
        .order_by(events.c.seq.desc())
        .limit(_TOOLS_READ)
    )
    records: dict[str, ToolRecord] = {}
    for found in reversed(tx.all(query)):
        _record(records, found.type, unpack(found.data))
    return records


def _record(records: dict[str, ToolRecord], kind: str, data: dict[str, Any]) -> None:
    call_id = data.get("call_id")
    if not call_id or data.get("inferred"):
        return
    if kind == "tool_started":
        records[call_id] = ToolRecord(name=data.get("name", ""), outcome="outcome_unknown", args=data.get("args"))
        return
    records[call_id] = ToolRecord(
        name=data.get("name", ""),
        outcome=data.get("outcome", "outcome_unknown"),
        args=records[call_id].args if call_id in records else None,
        result=data.get("result"),
        error=data.get("error"),
    )
