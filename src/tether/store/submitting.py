"""Submitting: a task with its limits resolved becomes rows, all or none; an idempotency key makes it happen once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, insert, select

from tether.errors import IdempotencyConflict
from tether.events import NewEvent
from tether.lifecycle import State
from tether.store.access_tables import secrets
from tether.store.dialect import Dialect
from tether.store.documents import limits_text, put_payload
from tether.store.ids import new_ids
from tether.store.moves import set_timers
from tether.store.prepared import Prepared
from tether.store.rows import NewTask
from tether.store.tables import budgets, tags, tasks
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing
from tether.task import Budget

__all__ = ["submit"]

_insert_budget = Prepared(insert(budgets))
_insert_tag = Prepared(insert(tags))
_insert_secrets = Prepared(insert(secrets))
_KEPT_SHARE = 20  # wrap_up keeps a twentieth of the money and tokens for its last call


def submit(tx: Writing, new: Sequence[NewTask]) -> list[str]:
    """Ids in the order given. Raises IdempotencyConflict for a known key with another content."""
    made = new_ids("task", len(new), tx.now_ms)
    rows = [_row(tx, item, task_id) for item, task_id in zip(new, made, strict=True)]
    ids = [_insert_task(tx, row) for row in rows]
    for item, row, task_id in zip(new, rows, ids, strict=True):
        if task_id == row.id:
            _accompany(tx, item, row)
    return ids


def _row(tx: Writing, new: NewTask, task_id: str) -> TaskRow:
    task, now = new.task, tx.now_ms
    start_ms = int(task.start_at.timestamp() * 1000) if task.start_at else 0
    key = task.idempotency_key
    row = TaskRow(
        id=task_id,
        tenant=task.tenant,
        user=task.user,
        agent=task.agent,
        task_type=task.task_type,
        state=str(State.QUEUED),
        reason=None,
        message="",
        note="",
        priority=task.priority,
        revision=1,
        created_at_ms=now,
        updated_at_ms=now,
        ended_at_ms=None,
        since_ms=now,
        ready_ms=start_ms if start_ms > now else None,
        wait_until_ms=None,
        wake=1,
        last_seq=1,
        attempt=0,
        lease_token=None,
        worker_id=None,
        parked=0,
        wants="",
        claimed_epoch=0,
        agent_version=new.agent_version,
        max_attempts=task.max_attempts,
        failures=0,
        losses=0,
        losses_at=0,
        active_ms=0,
        checkpoint=0,
        checkpoint_base=0,
        timeouts=limits_text(new.timeouts),
        idempotency_key=key,
        idempotency_hash=None if key is None else _digest(new),
        needs=0,
    )
    set_timers(row)
    return row


def _digest(new: NewTask) -> str:
    text = json.dumps(new.task.document(), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


_COLUMNS = tuple(column.name for column in tasks.c)


def _once(dialect: Dialect) -> Executable:
    values = {name: bindparam(f"b_{name}") for name in _COLUMNS}
    return dialect.upsert(tasks).values(values).on_conflict_do_nothing().returning(tasks.c.id)


_insert_once = Prepared(_once)


_insert_tasks = Prepared(insert(tasks))


def _insert_task(tx: Writing, row: TaskRow) -> str:
    """The id of the task: a new one, or the one that the key made before."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    if row.idempotency_key is None:
        tx.put(_insert_tasks, values)
        return row.id
    if tx.one(_insert_once, {f"b_{name}": value for name, value in values.items()}) is not None:
        return row.id
    where = (tasks.c.tenant == row.tenant, tasks.c.idempotency_key == row.idempotency_key)
    before = tx.one(select(tasks.c.id, tasks.c.idempotency_hash).where(*where))
    if before is None or before.idempotency_hash != row.idempotency_hash:
        raise IdempotencyConflict(row.idempotency_key, before.id if before else "another task")
    return before.id


def _accompany(tx: Writing, new: NewTask, row: TaskRow) -> None:
    """Everything of the task beside its row."""
    task = new.task
    row.last_seq = 0
    tx.note(row, NewEvent(type="task_submitted", data={"by": new.by, "warnings": list(new.warnings)}))
    put_payload(tx, row.id, "spec", task.document())
    if new.sealed is not None:
        tx.put(_insert_secrets, {"task_id": row.id, "data": new.sealed})
    tx.put(_insert_budget, {"task_id": row.id, **_budget(new.budget, task.on_budget_exceeded == "wrap_up")})
    for tag in dict.fromkeys(task.tags):
        tx.put(_insert_tag, {"tag": tag, "task_id": row.id})


def _budget(budget: Budget, wrap_up: bool) -> dict[str, Any]:
    return {
        "lease_token": None,
        "open": 0,
        "epoch": 1,
        "warned": 0,
        "llm_calls": 0,
        "max_llm_calls": budget.max_llm_calls,
        "kept_llm_calls": min(1, budget.max_llm_calls) if wrap_up else 0,
        "nanousd": 0,
        "held_nanousd": 0,
        "max_nanousd": budget.max_nanousd,
        "kept_nanousd": budget.max_nanousd // _KEPT_SHARE if wrap_up else 0,
        "tokens": 0,
        "held_tokens": 0,
        "max_tokens": budget.max_tokens,
        "kept_tokens": budget.max_tokens // _KEPT_SHARE if wrap_up else 0,
        "web_requests": 0,
        "max_web_requests": budget.max_web_requests,
        "tool_calls": 0,
        "max_tool_calls": budget.max_tool_calls,
        "steps": 0,
        "max_steps": budget.max_steps,
        "web_counting": "exact",
    }
