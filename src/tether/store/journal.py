"""What a lease holder writes: events, checkpoints, partial results, endings; fenced by the lease token, one commit a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, select, update

from tether.errors import Conflict, TetherError, ValidationError
from tether.events import NewEvent
from tether.lifecycle import FINAL, Change, Reason, State
from tether.messages import brief
from tether.store import asking, checkpoints, moves
from tether.store.dialect import Dialect
from tether.store.documents import COUNTERS, counters_of, put_payload
from tether.store.limits import warn
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.rows import UNSET, Append, Ending, Entry, NewArtifact, Park, Started, Written
from tether.store.tables import artifacts, attempts, budgets
from tether.store.taskrow import TaskRow
from tether.store.wants import honour
from tether.store.writing import Writing

__all__ = ["append", "write"]

_start_attempt = Prepared(
    update(attempts)
    .where(attempts.c.task_id == bindparam("b_task"), attempts.c.number == bindparam("b_number"))
    .values(isolation=bindparam("b_isolation"), agent_version=bindparam("b_version"))
)
_add_active = Prepared(
    update(attempts)
    .where(attempts.c.task_id == bindparam("b_task"), attempts.c.number == bindparam("b_number"))
    .values(active_ms=attempts.c.active_ms + bindparam("b_ms"))
)
_add_counts = Prepared(
    update(budgets)
    .where(budgets.c.task_id == bindparam("b_task"))
    .values(steps=budgets.c.steps + bindparam("b_steps"), tool_calls=budgets.c.tool_calls + bindparam("b_tools"))
)
_counted = Prepared(select(*COUNTERS, budgets.c.warned).where(budgets.c.task_id == bindparam("b_task")))
_set_counting = Prepared(
    update(budgets).where(budgets.c.task_id == bindparam("b_task")).values(web_counting=bindparam("b_counting"))
)
_set_open = Prepared(update(budgets).where(budgets.c.task_id == bindparam("b_task")).values(open=bindparam("b_open")))


def write(tx: Writing, entries: Sequence[Entry]) -> list[Written]:
    """Each entry while its token is the task's; one that is not acceptable leaves the others untouched."""
    tx.lock(entry.task_id for entry in entries)
    settled: set[str] = set()
    written: list[Written] = []
    for entry in entries:
        if entry.task_id in settled:
            tx.flush()  # pending writes are grouped by statement; two changes of one task must keep their order
        if entry.ending or entry.park or entry.unpark:
            settled.add(entry.task_id)
        written.append(_fenced(tx, entry))
    _warn(tx, {entry.task_id for entry, done in zip(entries, written, strict=True) if done and _counts(entry)})
    return written


def _counts(entry: Entry) -> bool:
    return bool(entry.add_steps or entry.add_tool_calls)


def _warn(tx: Writing, task_ids: set[str]) -> None:
    """Steps and tool calls are counted here alone, so it is here that 80 % of them is noticed."""
    if task_ids:
        tx.flush()
    for task_id in sorted(task_ids):
        row, found = tx.rows[task_id], tx.one(_counted, {"b_task": task_id})
        if found is not None and row.state not in FINAL:  # a task's last event is how it ended
            warn(tx, row, counters_of(found), found.warned)


def _fenced(tx: Writing, entry: Entry) -> Written:
    row = tx.rows.get(entry.task_id)
    if row is None or row.lease_token != entry.lease_token:
        return Written(ok=False)
    if entry.checkpoint is not None and checkpoints.must_fold(row, entry.checkpoint):
        tx.flush()
    mark = tx.mark(row)
    try:
        _apply(tx, row, entry)
    except (TypeError, ValueError, RecursionError) as error:
        return _refused(
            tx, mark.row, ValidationError("entry", f"is not JSON ({error})", "use finite numbers, text, lists and maps"), mark
        )
    except TetherError as error:
        return _refused(tx, mark.row, error, mark)
    return Written(ok=True, state=row.state, reason=row.reason, seq=row.last_seq)


def _refused(tx: Writing, before: TaskRow, problem: TetherError, mark: Any) -> Written:
    tx.undo(mark)
    return Written(ok=False, state=before.state, reason=before.reason, seq=before.last_seq, problem=problem)


def _apply(tx: Writing, row: TaskRow, entry: Entry) -> None:
    for event in entry.events:
        tx.note(row, event)
    if entry.started is not None:
        _start(tx, row, entry.started)
    _count(tx, row, entry)
    _keep(tx, row, entry)
    if entry.checkpoint is not None:
        checkpoints.save(tx, row, entry.checkpoint, entry.attempt)
    if entry.park is not None:
        _park(tx, row, entry.park, entry)
    if entry.unpark:
        _unpark(tx, row)
    if entry.ending is not None:
        _end(tx, row, entry.ending, entry)


def _start(tx: Writing, row: TaskRow, started: Started) -> None:
    values = {"b_isolation": json.dumps(dict(started.isolation)), "b_version": started.agent_version or row.agent_version}
    tx.put(_start_attempt, {"b_task": row.id, "b_number": row.attempt, **values})
    if started.agent_version:
        row.put(agent_version=started.agent_version)


def _count(tx: Writing, row: TaskRow, entry: Entry) -> None:
    if entry.active_s > 0:
        row.put(active_ms=row.active_ms + round(entry.active_s * 1000))
        tx.put(_add_active, {"b_task": row.id, "b_number": row.attempt, "b_ms": round(entry.active_s * 1000)})
    if _counts(entry):
        tx.put(_add_counts, {"b_task": row.id, "b_steps": entry.add_steps, "b_tools": entry.add_tool_calls})
    if entry.web_counting is not None:
        tx.put(_set_counting, {"b_task": row.id, "b_counting": entry.web_counting})


def _keep(tx: Writing, row: TaskRow, entry: Entry) -> None:
    if entry.progress is not None:
        put_payload(tx, row.id, "progress", entry.progress)
        row.put(updated_at_ms=tx.now_ms)
    if entry.partial is not UNSET:
        size = put_payload(tx, row.id, "partial", entry.partial)
        data = {"bytes": size, "by": entry.partial_by}
        tx.note(row, NewEvent(type="partial_saved", attempt=entry.attempt, data=data))
    for artifact in entry.artifacts:
        _keep_artifact(tx, row, artifact, entry.attempt)


def _upsert(dialect: Dialect) -> Executable:
    statement = dialect.upsert(artifacts).values({column.name: bindparam(f"b_{column.name}") for column in artifacts.c})
    columns = ("attempt", "size_bytes", "sha256", "url", "content_type", "created_at_ms")
    new = {name: statement.excluded[name] for name in columns}
    return statement.on_conflict_do_update(index_elements=["task_id", "name"], set_=new)


_upsert_artifact = Prepared(_upsert)


def _keep_artifact(tx: Writing, row: TaskRow, artifact: NewArtifact, attempt: int) -> None:
    values = {
        "task_id": row.id,
        "name": plain(artifact.name),
        "attempt": attempt,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "url": plain(artifact.url),
        "content_type": artifact.content_type,
        "created_at_ms": tx.now_ms,
    }
    tx.put(_upsert_artifact, {f"b_{name}": value for name, value in values.items()})
    data = {"name": artifact.name, "bytes": artifact.size_bytes, "sha256": artifact.sha256}
    tx.note(row, NewEvent(type="artifact_saved", attempt=attempt, data=data))


def _park(tx: Writing, row: TaskRow, park: Park, entry: Entry) -> None:
    """Paused with a live lease: nothing more may be reserved until it is unparked."""
    asking.pause(tx, row, park.reason, detail=park.message, approval=entry.approval, hold=park.hold)
    row.put(parked=1)
    tx.put(_set_open, {"b_task": row.id, "b_open": 0})


def _unpark(tx: Writing, row: TaskRow) -> None:
    if not row.parked:
        raise Conflict(f"{row.id} is not parked")
    by = row.wanted().get("unpark", {})
    event = NewEvent(type="task_resumed", attempt=row.attempt, data={"by": by.get("by", ""), "note": by.get("note", "")})
    moves.move(tx, row, Change.UNPARK, event=event)
    row.put(parked=0)
    row.unwant("unpark", "hold")
    tx.put(_set_open, {"b_task": row.id, "b_open": 1})


def _end(tx: Writing, row: TaskRow, ending: Ending, entry: Entry) -> None:
    """Close the attempt, give the lease back, move the task, then do what clients asked meanwhile."""
    if ending.consumes_attempt:
        row.put(failures=row.failures + 1)
    if ending.result is not UNSET:
        put_payload(tx, row.id, "result", ending.result)
    why = ending.attempt_reason or ending.reason
    moves.free_lease(tx, row, ending.attempt_state, None if why is None else str(why), ending.message)
    _change(tx, row, ending, entry)
    honour(tx, row)


def _change(tx: Writing, row: TaskRow, ending: Ending, entry: Entry) -> None:
    reason, detail = ending.reason, ending.message
    match ending.change:
        case None:
            if row.state != State.PAUSED:
                raise Conflict(f"{row.id} is {row.state}, not parked: its ending must say what becomes of it")
        case Change.FINISH:
            event = NewEvent(type="task_succeeded", attempt=row.attempt, data={"message": detail or brief(Reason.COMPLETED)})
            moves.move(tx, row, Change.FINISH, reason, detail=detail, event=event)
        case Change.REQUEUE:
            moves.requeue(tx, row, reason or Reason.OPERATOR, detail=detail, delay_s=ending.not_before_delay_s)
        case Change.PAUSE:
            asking.pause(tx, row, reason or Reason.OPERATOR, detail=detail, approval=entry.approval, hold=ending.hold)
        case Change.ESCALATE:
            by, note = _asked_by(row, "escalate", ending)
            asking.escalate(tx, row, by=by, note=note or detail, approval=entry.approval)
        case Change.CANCEL:
            by, note = _asked_by(row, "cancel", ending)
            moves.cancel(tx, row, by, detail or note)
        case Change.FAIL | Change.REJECT | Change.EXPIRE:
            asking.fail(tx, row, ending.change, reason or Reason.AGENT_ERROR, detail)
        case _:
            raise Conflict(f"{ending.change} does not end an attempt")


def _asked_by(row: TaskRow, kind: str, ending: Ending) -> tuple[str, str]:
    want: Mapping[str, str] = row.wanted().get(kind, {})
    return ending.by or want.get("by", ""), want.get("note", "")


def append(tx: Writing, items: Sequence[Append]) -> list[bool]:
    """Events without a lease; they never change a state."""
    tx.lock(item.task_id for item in items)
    for item in items:
        row = tx.rows.get(item.task_id)
        for event in item.events if row else ():
            tx.note(row, event)  # type: ignore[arg-type]
    return [item.task_id in tx.rows for item in items]
