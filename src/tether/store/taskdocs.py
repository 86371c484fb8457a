"""Stored tasks as users see them: rows of several tables put together into TaskDocuments."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select

from tether.lifecycle import FINAL, TRANSITIONS, Change, Reason, State
from tether.messages import Facts, message
from tether.store.documents import approval_of, read_counters, read_payloads
from tether.store.reading import Reading
from tether.store.rows import Counters
from tether.store.tables import approvals, artifacts, attempts
from tether.store.taskrow import TaskRow
from tether.task import Approval, ApprovalKind, Attempt, TaskDocument, rfc3339

__all__ = ["actions", "read_documents"]

_PAYLOADS = ("spec", "result", "partial", "progress")


def actions(state: str, reason: str | None, approval: Approval | None) -> tuple[str, ...]:
    """What a user may do with a task that stands like this, from the transition table and its open question."""
    allowed = {change for before, change in TRANSITIONS if before == State(state)}
    out: list[str] = []
    if state == State.PAUSED and approval is not None:
        asked = approval.details.get("was", approval.kind)
        out += ["answer" if asked == ApprovalKind.QUESTION else "approve", "reject"]
    elif state == State.PAUSED and reason == Reason.OPERATOR:
        out.append("resume")
    out += [str(change) for change in (Change.PAUSE, Change.RETRY, Change.CANCEL) if change in allowed]
    if Change.ESCALATE in allowed and reason != Reason.ESCALATED:
        out.append("escalate")
    if State(state) not in FINAL:
        out.append("update")
    return tuple(out)


def read_documents(tx: Reading, rows: Sequence[TaskRow]) -> list[TaskDocument]:
    """Documents in the order of the rows, in a bounded number of statements."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    counters = read_counters(tx, ids)
    payloads = read_payloads(tx, ids, _PAYLOADS)
    tried, kept, asked = _attempts(tx, ids), _artifacts(tx, ids), _open_approvals(tx, ids)
    return [
        _document(row, counters[row.id], payloads, tuple(tried[row.id]), tuple(kept[row.id]), asked.get(row.id)) for row in rows
    ]


def _attempts(tx: Reading, ids: Sequence[str]) -> Mapping[str, list[Attempt]]:
    out: dict[str, list[Attempt]] = defaultdict(list)
    for row in tx.all(select(attempts).where(attempts.c.task_id.in_(ids)).order_by(attempts.c.task_id, attempts.c.number)):
        out[row.task_id].append(_attempt(row))
    return out


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        number=row.number,
        state=row.state,
        reason=row.reason,
        worker=row.worker_id,
        isolation=json.loads(row.isolation),
        started_at_ms=row.started_at_ms,
        ended_at_ms=row.ended_at_ms,
        message=row.message,
    )


def _artifacts(tx: Reading, ids: Sequence[str]) -> Mapping[str, list[Mapping[str, Any]]]:
    out: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in tx.all(select(artifacts).where(artifacts.c.task_id.in_(ids)).order_by(artifacts.c.task_id, artifacts.c.name)):
        shown = {"name": row.name, "bytes": row.size_bytes, "sha256": row.sha256, "content_type": row.content_type}
        out[row.task_id].append({**shown, "attempt": row.attempt, "created_at": rfc3339(row.created_at_ms)})
    return out


def _open_approvals(tx: Reading, ids: Sequence[str]) -> dict[str, Approval]:
    query = select(approvals).where(approvals.c.task_id.in_(ids), approvals.c.state == "open")
    return {row.task_id: approval_of(row) for row in tx.all(query)}


def _document(
    row: TaskRow,
    counters: Counters,
    payloads: Mapping[tuple[str, str], Any],
    tried: tuple[Attempt, ...],
    kept: tuple[Mapping[str, Any], ...],
    approval: Approval | None,
) -> TaskDocument:
    spec = payloads.get((row.id, "spec")) or {}
    partial = payloads.get((row.id, "partial"))
    state, reason = row.standing()
    return TaskDocument(
        id=row.id,
        state=state,
        reason=reason,
        message=message(state, reason, _facts(row, counters, approval, has_partial=partial is not None)),
        agent=row.agent,
        agent_version=row.agent_version,
        task_type=row.task_type,
        goal=spec.get("goal", ""),
        input=spec.get("input"),
        tags=tuple(spec.get("tags", ())),
        metadata=spec.get("metadata", {}),
        user=row.user,
        tenant=row.tenant,
        priority=row.priority,
        budget=counters.budget(),
        usage=counters.usage(),
        timeouts=row.limits(),
        attempts=tried,
        progress=payloads.get((row.id, "progress")) or {},
        partial=partial,
        result=payloads.get((row.id, "result")),
        artifacts=kept,
        approval=approval,
        actions=actions(state, reason, approval),
        created_at_ms=row.created_at_ms,
        updated_at_ms=row.updated_at_ms,
        ended_at_ms=row.ended_at_ms,
    )


def _facts(row: TaskRow, counters: Counters, approval: Approval | None, *, has_partial: bool) -> Facts:
    return Facts(
        detail=row.message,
        budget=counters.budget(),
        usage=counters.usage(),
        timeouts=row.limits(),
        attempt=row.attempt,
        failures=row.failures,
        max_attempts=row.max_attempts,
        ready_at_ms=row.ready_ms,
        approval=approval,
        has_partial=has_partial,
        has_checkpoint=row.checkpoint > 0,
        wanted=tuple(row.wanted()),
    )
