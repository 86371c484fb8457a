"""Workers and their leases: a task is leased while its worker's row is live and its lease_until is in the future."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, insert, literal_column, select, update

from tether.errors import Conflict
from tether.store.claiming import due, promote
from tether.store.documents import read_counters
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Beat, Intent, NewWorker, Wake, WorkerRow
from tether.store.tables import budgets, tasks, workers
from tether.store.taskrow import TaskRow, select_tasks
from tether.store.writing import Writing

__all__ = ["beat", "intents", "leases", "register", "retire", "take_wakes", "wake_again", "workers_known", "worth_announcing"]

_WORKING = ("live", "draining")
_insert_worker = Prepared(insert(workers))
_announced = Prepared(
    update(tasks).where(tasks.c.id == bindparam("b_id"), tasks.c.state == "queued").values(wake=bindparam("b_wake"))
)


def register(tx: Writing, new: NewWorker, lease_s: float) -> Beat:
    """A worker that may claim until its lease ends. Raises Conflict when the id was used before."""
    if tx.one(select(workers.c.id).where(workers.c.id == new.id)) is not None:
        raise Conflict(f"a worker {new.id!r} is registered already; every start of a worker takes a new id")
    until = tx.now_ms + int(lease_s * 1000)
    tx.put(
        _insert_worker,
        {
            "id": plain(new.id),
            "host": plain(new.host),
            "boot_id": plain(new.boot_id),
            "pid": new.pid,
            "start_time": new.start_time,
            "slots": new.slots,
            "agents": json.dumps(new.agents),
            "version": plain(new.version),
            "facts": json.dumps(dict(new.facts)),
            "state": "live",
            "started_at_ms": tx.now_ms,
            "beat_at_ms": tx.now_ms,
            "lease_until_ms": until,
        },
    )
    return Beat(alive=True, lease_until_ms=until, now_ms=tx.now_ms)


def beat(tx: Writing, worker_id: str, lease_s: float, state: str, facts: Mapping[str, Any] | None) -> Beat:
    """One UPDATE; a worker that was given up stays given up."""
    before = tx.one(tx.dialect.locked(select(workers.c.state, workers.c.lease_until_ms).where(workers.c.id == worker_id)))
    if before is None or before.state not in _WORKING:
        return Beat(alive=False, now_ms=tx.now_ms)
    until = tx.now_ms + int(lease_s * 1000)
    values: dict[str, Any] = {"state": state, "beat_at_ms": tx.now_ms, "lease_until_ms": until}
    if facts is not None:
        values["facts"] = json.dumps(dict(facts))
    tx.run(update(workers).where(workers.c.id == worker_id).values(values))
    return Beat(alive=True, lease_until_ms=until, now_ms=tx.now_ms, outage_s=max(tx.now_ms - before.lease_until_ms, 0) / 1000)


def retire(tx: Writing, worker_id: str) -> None:
    """The worker ends; what it still leases is for the next rescue."""
    tx.run(update(workers).where(workers.c.id == worker_id, workers.c.state.in_(_WORKING)).values(state="retired"))


def leases(tx: Reading, worker_id: str) -> dict[str, str]:
    """Task id -> lease token."""
    query = select(tasks.c.id, tasks.c.lease_token).where(tasks.c.worker_id == worker_id, tasks.c.lease_token.is_not(None))
    return {row.id: row.lease_token for row in tx.all(query)}


def intents(tx: Reading, worker_id: str) -> list[Intent]:
    """What clients want of this worker's tasks: their words, and limits changed since the claim."""
    query = (
        select_tasks()
        .add_columns(budgets.c.epoch)
        .join(budgets, budgets.c.task_id == tasks.c.id)
        .where(tasks.c.worker_id == worker_id, tasks.c.lease_token.is_not(None))
        .where((tasks.c.wants != "") | (budgets.c.epoch > tasks.c.claimed_epoch))
    )
    found = tx.all(query)
    counters = read_counters(tx, [row.id for row in found]) if found else {}
    out: list[Intent] = []
    for full in found:
        row = TaskRow.of(full)
        out += [_intent(row, kind, **said) for kind, said in row.wanted().items()]
        if full.epoch > row.claimed_epoch:
            out.append(_intent(row, "update", counters=counters[row.id], timeouts=row.limits()))
    return out


def _intent(row: TaskRow, kind: str, **details: Any) -> Intent:
    return Intent(task_id=row.id, lease_token=row.lease_token or "", attempt=row.attempt, kind=kind, **details)


def workers_known(tx: Reading, *, all_states: bool) -> list[WorkerRow]:
    """Workers with the number of leases each holds, oldest first."""
    held = (
        select(tasks.c.worker_id, func.count().label("leases"))
        .where(tasks.c.lease_token.is_not(None))
        .group_by(tasks.c.worker_id)
        .subquery()
    )
    query = select(*workers.c, func.coalesce(held.c.leases, 0).label("leases")).outerjoin(held, held.c.worker_id == workers.c.id)
    if not all_states:
        query = query.where(workers.c.state.in_(_WORKING))
    return [_worker(row, tx.now_ms) for row in tx.all(query.order_by(workers.c.started_at_ms, workers.c.id))]


def _worker(row: Row[Any], now_ms: int) -> WorkerRow:
    return WorkerRow(
        id=row.id,
        host=row.host,
        boot_id=row.boot_id,
        pid=row.pid,
        start_time=row.start_time,
        slots=row.slots,
        agents=tuple(json.loads(row.agents)),
        version=row.version,
        facts=json.loads(row.facts),
        state=row.state,
        started_at_ms=row.started_at_ms,
        beat_at_ms=row.beat_at_ms,
        lease_until_ms=row.lease_until_ms,
        leases=row.leases,
        expired=row.state in _WORKING and row.lease_until_ms <= now_ms,
    )


def worth_announcing(tx: Reading, older_than_s: float) -> bool:
    """Whether the outbox holds anything, or will once tasks are promoted; asked without a lock."""
    return tx.one(_unannounced(tx, older_than_s).limit(1)) is not None or due(tx)


def take_wakes(tx: Writing, limit: int, older_than_s: float) -> list[Wake]:
    """Queued tasks that may start and were not announced yet, given to this caller alone."""
    promote(tx)
    query = _unannounced(tx, older_than_s).order_by(tasks.c.id).limit(limit)
    found = tx.all(tx.dialect.locked(query, skip=True))
    for row in found:
        tx.put(_announced, {"b_id": row.id, "b_wake": 0})
    return [Wake(task_id=row.id, agent=row.agent, tenant=row.tenant, priority=row.priority) for row in found]


def _unannounced(tx: Reading, older_than_s: float) -> Select[Any, Any, Any, Any]:
    before = tx.now_ms - int(older_than_s * 1000)
    columns = (tasks.c.id, tasks.c.agent, tasks.c.tenant, tasks.c.priority)
    ready = (tasks.c.state == "queued", tasks.c.ready_ms.is_(None), tasks.c.since_ms <= before)
    return select(*columns).where(literal_column("tasks.wake = 1"), *ready)


def wake_again(tx: Writing, task_ids: list[str]) -> None:
    """Put back into the outbox."""
    for task_id in sorted(task_ids):
        tx.put(_announced, {"b_id": task_id, "b_wake": 1})
