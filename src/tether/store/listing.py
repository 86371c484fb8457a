"""Lists: tasks, approvals and events, page by page with keyset cursors (a name is its own place in time)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select

from tether.errors import NotFound, ValidationError
from tether.events import Event
from tether.store import checkpoints
from tether.store.documents import approval_of, read_counters
from tether.store.eventrows import event_of
from tether.store.ids import time_bound
from tether.store.payloads import unpack
from tether.store.reading import Reading
from tether.store.rows import AttemptState, Checkpoint, Counters, NewArtifact, Page, TaskFilter
from tether.store.tables import approvals, artifacts, attempts, events, tags, tasks
from tether.store.taskdocs import read_documents
from tether.store.taskrow import TaskRow, select_tasks, standing
from tether.task import Approval, TaskDocument

__all__ = [
    "approval",
    "approval_page",
    "artifact_list",
    "attempt_state",
    "checkpoint",
    "counters",
    "counts",
    "document",
    "event_list",
    "found",
    "states",
    "task_page",
    "tool_history",
]

_CURSOR = re.compile(r"[a-z]{1,8}_[0-9A-Z]{26}\Z")
_MOST = 1000


def found(tx: Reading, task_id: str, tenant: str | None) -> TaskRow:
    """The task's row. Raises NotFound, also for another tenant's."""
    row = tx.one(select_tasks().where(tasks.c.id == task_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("task", task_id)
    return TaskRow.of(row)


def document(tx: Reading, task_id: str, tenant: str | None) -> TaskDocument:
    """One task as users see it."""
    return read_documents(tx, [found(tx, task_id, tenant)])[0]


def states(tx: Reading, task_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Task id -> (state, reason)."""
    columns = (tasks.c.id, tasks.c.state, tasks.c.reason, tasks.c.parked, tasks.c.wants)
    query = select(*columns).where(tasks.c.id.in_(list(task_ids)))
    return {row.id: standing(row.state, row.reason, row.parked, row.wants) for row in tx.all(query)}


def task_page(tx: Reading, where: TaskFilter, limit: int, cursor: str | None) -> Page[TaskDocument]:
    """Newest first."""
    query = _filtered(select_tasks(), where).order_by(tasks.c.id.desc()).limit(_size(limit) + 1)
    if cursor is not None:
        query = query.where(tasks.c.id < _checked(cursor))
    rows = [TaskRow.of(row) for row in tx.all(query)]
    more = len(rows) > _size(limit)
    rows = rows[: _size(limit)]
    return Page(data=tuple(read_documents(tx, rows)), next_cursor=rows[-1].id if more else None)


def _filtered(query: Select[*tuple[Any, ...]], where: TaskFilter) -> Select[*tuple[Any, ...]]:
    for column in ("agent", "task_type", "user", "tenant"):
        if getattr(where, column) is not None:
            query = query.where(tasks.c[column] == getattr(where, column))
    if where.states:
        query = query.where(tasks.c.state.in_(where.states))
    if where.reasons:
        query = query.where(tasks.c.reason.in_(where.reasons))
    if where.created_from_ms is not None:
        query = query.where(tasks.c.id >= time_bound("task", where.created_from_ms))
    if where.created_to_ms is not None:
        query = query.where(tasks.c.id < time_bound("task", where.created_to_ms))
    if where.tag is not None:
        query = query.join(tags, tags.c.task_id == tasks.c.id).where(tags.c.tag == where.tag)
    return query


def _size(limit: int) -> int:
    return max(1, min(limit, _MOST))


def _checked(cursor: str) -> str:
    if not _CURSOR.match(cursor):
        raise ValidationError("cursor", f"{cursor!r} is not a cursor of this list", "pass back the cursor you were given")
    return cursor


def counts(tx: Reading, tenant: str | None) -> dict[str, int]:
    """State -> number of tasks."""
    query = select(tasks.c.state, func.count().label("number")).group_by(tasks.c.state)
    return {row.state: row.number for row in tx.all(query if tenant is None else query.where(tasks.c.tenant == tenant))}


def event_list(tx: Reading, task_id: str, after: int, limit: int, types: Sequence[str], tenant: str | None) -> list[Event]:
    """In order of seq."""
    found(tx, task_id, tenant)
    query = select(events).where(events.c.task_id == task_id, events.c.seq > after).order_by(events.c.seq).limit(max(limit, 1))
    return [event_of(row) for row in tx.all(query.where(events.c.type.in_(list(types))) if types else query)]


def tool_history(tx: Reading, task_id: str, most: int) -> list[Event]:
    """In order of seq."""
    kinds = ("tool_started", "tool_ended", "stuck_suspected", "task_resumed")
    query = select(events).where(events.c.task_id == task_id, events.c.type.in_(kinds)).order_by(events.c.seq.desc()).limit(most)
    return [event_of(row) for row in reversed(tx.all(query))]


def counters(tx: Reading, task_id: str, tenant: str | None) -> Counters:
    """The budget row. Raises NotFound."""
    found(tx, task_id, tenant)
    return read_counters(tx, [task_id])[task_id]


def approval_page(
    tx: Reading, state: str | None, task_id: str | None, tenant: str | None, limit: int, cursor: str | None
) -> Page[Approval]:
    """Newest first."""
    query = select(approvals).order_by(approvals.c.id.desc()).limit(_size(limit) + 1)
    for column, value in (("state", state), ("task_id", task_id), ("tenant", tenant)):
        if value is not None:
            query = query.where(approvals.c[column] == value)
    rows = tx.all(query if cursor is None else query.where(approvals.c.id < _checked(cursor)))
    data = tuple(approval_of(row) for row in rows[: _size(limit)])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > _size(limit) else None)


def approval(tx: Reading, approval_id: str, tenant: str | None) -> Approval:
    """Raises NotFound."""
    row = tx.one(select(approvals).where(approvals.c.id == approval_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("approval", approval_id)
    return approval_of(row)


def checkpoint(tx: Reading, task_id: str, number: int | None, tenant: str | None) -> Checkpoint | None:
    """Composed, or None."""
    found(tx, task_id, tenant)
    got = checkpoints.read(tx, task_id, number)
    return got[0] if got else None


def attempt_state(tx: Reading, task_id: str, attempt: int | None, tenant: str | None) -> AttemptState:
    """Raises NotFound for a task or attempt that does not exist."""
    row = found(tx, task_id, tenant)
    number = row.attempt if attempt is None else attempt
    tried = tx.one(select(attempts.c.number).where(attempts.c.task_id == task_id, attempts.c.number == number))
    if tried is None:
        raise NotFound(
            "attempt", f"{task_id}/{number}", "no attempt was made yet" if row.attempt == 0 else f"there are {row.attempt}"
        )
    dump = tx.one(
        select(events)
        .where(events.c.task_id == task_id, events.c.type == "state_dumped", events.c.attempt == number)
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    return AttemptState(
        task_id=task_id,
        attempt=number,
        checkpoint=_last_checkpoint(tx, task_id, number, row.attempt),
        dump=unpack(dump.data) if dump else None,
        dumped_at_ms=dump.at_ms if dump else None,
    )


def _last_checkpoint(tx: Reading, task_id: str, attempt: int, newest: int) -> Checkpoint | None:
    """The newest one while the attempt is the newest; of an older attempt only if it wrote the last one."""
    got = checkpoints.read(tx, task_id)
    return got[0] if got and (attempt == newest or got[0].attempt == attempt) else None


def artifact_list(tx: Reading, task_id: str, tenant: str | None) -> list[NewArtifact]:
    """By name."""
    found(tx, task_id, tenant)
    rows = tx.all(select(artifacts).where(artifacts.c.task_id == task_id).order_by(artifacts.c.name))
    return [
        NewArtifact(name=row.name, size_bytes=row.size_bytes, sha256=row.sha256, url=row.url, content_type=row.content_type)
        for row in rows
    ]
