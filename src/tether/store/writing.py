"""A transaction that writes: lock rows of tasks, decide in memory, write everything at the end in a few batched statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, insert, update

from tether.events import NewEvent, redact
from tether.store.dialect import Dialect
from tether.store.payloads import pack
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.tables import events, tasks
from tether.store.taskrow import TaskRow, select_tasks

__all__ = ["Mark", "Writing"]

_insert_event = Prepared(insert(events))
_lock_one = Prepared(lambda dialect: dialect.locked(select_tasks().where(tasks.c.id == bindparam("b_id"))))


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How things stood before an entry, to undo it when it turns out to be unacceptable."""

    row: TaskRow
    lengths: Mapping[Prepared, int]


class Writing(Reading):
    """Reading, plus locked rows and pending writes; pending ones reach the database with `flush`, in the order they were put."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        super().__init__(connection, dialect)
        self.rows: dict[str, TaskRow] = {}
        self._pending: dict[Prepared, list[dict[str, Any]]] = {}

    def lock(self, task_ids: Iterable[str], *, skip: bool = False) -> dict[str, TaskRow]:
        """The rows of these tasks (of those that exist), locked in ascending order of ids; skip: without those others hold."""
        missing = sorted(set(task_ids) - self.rows.keys())
        if len(missing) == 1 and not skip:
            for row in self.all(_lock_one, {"b_id": missing[0]}):
                self.rows[row[0]] = TaskRow.of(row)
        elif missing:
            query = select_tasks().where(tasks.c.id.in_(missing)).order_by(tasks.c.id)
            for row in self.all(self.dialect.locked(query, skip=skip)):
                self.rows[row[0]] = TaskRow.of(row)
        return self.rows

    def lock_one(self, task_id: str) -> TaskRow | None:
        """One row, locked; None when there is no such task."""
        return self.lock([task_id]).get(task_id)

    def put(self, statement: Prepared, values: dict[str, Any]) -> None:
        """Write this later, together with all other values for the same statement."""
        self._pending.setdefault(statement, []).append(values)

    def run(self, statement: Executable) -> int:
        """Send this now; returns how many rows it touched."""
        touched = self.connection.execute(statement).rowcount  # type: ignore[attr-defined]
        self.executed += 1
        return touched

    def note(self, row: TaskRow, event: NewEvent) -> int:
        """Append an event to the journal of a locked task; returns its seq. Raises ValueError for data that is not JSON."""
        data = pack(redact(event.data)) if event.data else b"{}"
        row.put(last_seq=row.last_seq + 1)
        self.put(
            _insert_event,
            {
                "task_id": row.id,
                "seq": row.last_seq,
                "attempt": event.attempt,
                "step": event.step,
                "type": event.type,
                "at_ms": self.now_ms,
                "data": data,
            },
        )
        return row.last_seq

    def mark(self, row: TaskRow) -> Mark:
        """Remember this row and what is pending."""
        saved = copy(row)
        saved.changed = set(row.changed)
        return Mark(row=saved, lengths={statement: len(values) for statement, values in self._pending.items()})

    def undo(self, mark: Mark) -> None:
        """Forget all that was put since the mark (only valid while nothing was flushed since)."""
        self.rows[mark.row.id] = mark.row
        for statement, values in self._pending.items():
            del values[mark.lengths.get(statement, 0) :]

    def flush(self) -> None:
        """Send all pending writes and changed rows."""
        for row in self.rows.values():
            if row.changed:
                names = tuple(sorted(row.changed))
                self.put(_update_task(names), {"b_id": row.id, **{f"b_{name}": getattr(row, name) for name in names}})
                row.changed = set()
        pending = [(statement, values) for statement, values in self._pending.items() if values]
        self._pending = {}
        with self._together() if len(pending) > 1 else nullcontext():
            for statement, values in pending:
                self._send_all(statement, values)

    def _send_all(self, statement: Prepared, values: list[dict[str, Any]]) -> None:
        form = statement.form(self.dialect, values[0])
        if len(values) == 1:
            self._send(form, form.values(values[0]))
        else:
            self._send(form, [form.values(one) for one in values], many=True)


@lru_cache(maxsize=512)
def _update_task(names: tuple[str, ...]) -> Prepared:
    """One statement per set of columns, so that its compiled form is found again."""
    values = {name: bindparam(f"b_{name}") for name in names}
    return Prepared(update(tasks).where(tasks.c.id == bindparam("b_id")).values(values))
