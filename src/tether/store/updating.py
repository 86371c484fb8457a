"""Changing the limits, the priority or the note of a task while it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, update

from tether.errors import Conflict, RevisionConflict, ValidationError
from tether.events import NewEvent
from tether.lifecycle import FINAL
from tether.store.documents import limits_text, read_counters
from tether.store.intents import locked
from tether.store.limits import still_warned
from tether.store.moves import set_timers
from tether.store.payloads import plain
from tether.store.rows import Counters
from tether.store.tables import budgets
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing
from tether.task import Budget, Timeouts

__all__ = ["Changes", "change", "set_budget"]

_MOST_PRIORITY = 1000


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is to be changed; None leaves it."""

    budget: Mapping[str, Any] | Budget | None = None
    timeouts: Mapping[str, Any] | Timeouts | None = None
    priority: int | None = None
    note: str | None = None


def change(tx: Writing, task_id: str, changes: Changes, by: str, tenant: str | None, if_revision: int | None) -> None:
    """Raises NotFound, ValidationError, Conflict."""
    row = locked(tx, task_id, tenant)
    if if_revision is not None and row.revision != if_revision:
        raise RevisionConflict(f"{task_id} was changed meanwhile (revision {row.revision}, not {if_revision}); read it again")
    if row.state in FINAL:
        raise Conflict(f"{task_id} is {row.state}; only a task that is not final can be changed")
    said = {**_change_limits(tx, row, changes), **_change_words(row, changes)}
    if said:
        row.put(revision=row.revision + 1, updated_at_ms=tx.now_ms)
        tx.note(row, NewEvent(type="task_updated", data={"by": by, "changes": said}))


def _change_limits(tx: Writing, row: TaskRow, changes: Changes) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if changes.budget is not None:
        before = read_counters(tx, [row.id])[row.id].budget()
        budget = Budget.of(changes.budget, before)
        set_budget(tx, row, budget)
        said["budget"] = _differences(before.document(), budget.document())
    if changes.timeouts is not None:
        timeouts = Timeouts.of(changes.timeouts, row.limits())
        said["timeouts"] = _differences(row.limits().document(), timeouts.document())
        row.put(timeouts=limits_text(timeouts))
        set_timers(row)
        _next_epoch(tx, row)
    return said


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in after.items() if before[key] != value}


def _change_words(row: TaskRow, changes: Changes) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if changes.priority is not None:
        if isinstance(changes.priority, bool) or not -_MOST_PRIORITY <= changes.priority <= _MOST_PRIORITY:
            raise ValidationError("priority", f"{changes.priority!r} is not a priority", "use a whole number from -1000 to 1000")
        row.put(priority=changes.priority)
        said["priority"] = changes.priority
    if changes.note is not None:
        row.put(note=plain(changes.note))
        said["note"] = changes.note
    return said


def set_budget(tx: Writing, row: TaskRow, budget: Budget) -> Counters:
    """Put these limits into the budget row at once (the gateway's next reserve sees them at commit); returns the new row."""
    before = read_counters(tx, [row.id])[row.id]
    warned = tx.one(select(budgets.c.warned).where(budgets.c.task_id == row.id))
    limits = {
        "max_llm_calls": budget.max_llm_calls,
        "max_nanousd": budget.max_nanousd,
        "max_web_requests": budget.max_web_requests,
        "max_tokens": budget.max_tokens,
        "max_steps": budget.max_steps,
        "max_tool_calls": budget.max_tool_calls,
    }
    after = replace(before, **limits, epoch=before.epoch + 1)
    bits = still_warned(after, warned.warned if warned else 0)
    tx.run(update(budgets).where(budgets.c.task_id == row.id).values(**limits, epoch=after.epoch, warned=bits))
    return after


def _next_epoch(tx: Writing, row: TaskRow) -> None:
    tx.run(update(budgets).where(budgets.c.task_id == row.id).values(epoch=budgets.c.epoch + 1))
