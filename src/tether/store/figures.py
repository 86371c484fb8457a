"""Sums for people who pay and people on call: usage by tenant, user, type, model and day; counts for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select

from tether.store.access_tables import deliveries
from tether.store.ids import time_bound
from tether.store.reading import Reading
from tether.store.tables import approvals, budgets, calls, tasks, workers
from tether.task import usd_from_nano

__all__ = ["GROUPS", "Figures", "UsageFilter", "figures", "usage"]

GROUPS = ("tenant", "user", "task_type", "model")
_DAY_MS = 86_400_000
_SUMS = ("llm_calls", "nanousd", "tokens", "web_requests", "tool_calls", "steps")


@dataclass(frozen=True, kw_only=True)
class UsageFilter:
    """Of tasks submitted from from_ms (included) to to_ms (not included), grouped by some of GROUPS and by day when asked."""

    from_ms: int
    to_ms: int
    group_by: tuple[str, ...] = ()
    by_day: bool = False
    tenant: str | None = None
    most_rows: int = 10_000


def usage(tx: Reading, where: UsageFilter) -> list[dict[str, Any]]:
    """One row per group; by model only what is known per call: calls, dollars, tokens."""
    by_model = "model" in where.group_by
    names = [*(["day"] if where.by_day else []), *where.group_by]
    columns = [_column(name) for name in names]
    sums = _of_calls() if by_model else _of_tasks()
    query = select(*[c.label(n) for c, n in zip(columns, names, strict=True)], *sums)
    query = query.join(calls, calls.c.task_id == tasks.c.id) if by_model else query.join(budgets, budgets.c.task_id == tasks.c.id)
    query = query.where(tasks.c.id >= time_bound("task", where.from_ms), tasks.c.id < time_bound("task", where.to_ms))
    if by_model:
        query = query.where(calls.c.kind == "llm")
    if where.tenant is not None:
        query = query.where(tasks.c.tenant == where.tenant)
    if columns:
        query = query.group_by(*columns).order_by(*columns)
    return [_row(row, names) for row in tx.all(query.limit(where.most_rows))]


def _column(name: str) -> ColumnElement[Any]:
    if name == "day":
        return tasks.c.created_at_ms - tasks.c.created_at_ms % _DAY_MS
    return calls.c.name if name == "model" else tasks.c[name]


def _of_tasks() -> list[ColumnElement[Any]]:
    sums = [func.coalesce(func.sum(budgets.c[name]), 0).label(name) for name in _SUMS]
    return [func.count().label("tasks"), *sums]


def _of_calls() -> list[ColumnElement[Any]]:
    tokens = func.coalesce(calls.c.input_tokens, 0) + func.coalesce(calls.c.output_tokens, 0)
    return [
        func.count(tasks.c.id.distinct()).label("tasks"),
        func.count().label("llm_calls"),
        func.coalesce(func.sum(calls.c.nanousd), 0).label("nanousd"),
        func.coalesce(func.sum(tokens), 0).label("tokens"),
    ]


def _row(row: Any, names: Sequence[str]) -> dict[str, Any]:
    from tether.task import rfc3339

    out: dict[str, Any] = {}
    for name, value in row._mapping.items():
        if name == "day":
            out["day"] = (rfc3339(int(value)) or "")[:10]
        elif name == "nanousd":
            out["usd"] = usd_from_nano(int(value))
        else:
            out[name] = value if name in names else int(value)
    return out


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Counts over all tasks. tasks: (task type, state, reason, number, nano-dollars); workers: (state, number, slots)."""

    tasks: tuple[tuple[str, str, str, int, int], ...]
    open_approvals: int
    workers: tuple[tuple[str, int, int], ...]
    leases: int
    deliveries: tuple[tuple[str, int], ...]


def figures(tx: Reading, tenant: str | None) -> Figures:
    """Of one tenant, or of all."""
    columns = (tasks.c.task_type, tasks.c.state, func.coalesce(tasks.c.reason, ""))
    query = select(*columns, func.count(), func.coalesce(func.sum(budgets.c.nanousd), 0)).join(
        budgets, budgets.c.task_id == tasks.c.id
    )
    asked = select(func.count()).select_from(approvals).where(approvals.c.state == "open")
    held = select(func.count()).select_from(tasks).where(tasks.c.lease_token.is_not(None))
    sent = select(deliveries.c.state, func.count()).where(deliveries.c.state != "delivered").group_by(deliveries.c.state)
    if tenant is not None:
        query, held = query.where(tasks.c.tenant == tenant), held.where(tasks.c.tenant == tenant)
        asked, sent = asked.where(approvals.c.tenant == tenant), sent.where(deliveries.c.tenant == tenant)
    alive = select(workers.c.state, func.count(), func.coalesce(func.sum(workers.c.slots), 0)).where(
        workers.c.state.in_(("live", "draining"))
    )
    return Figures(
        tasks=tuple((r[0], r[1], r[2], int(r[3]), int(r[4])) for r in tx.all(query.group_by(*columns).order_by(*columns))),
        open_approvals=int(tx.all(asked)[0][0]),
        workers=tuple((r[0], int(r[1]), int(r[2])) for r in tx.all(alive.group_by(workers.c.state))),
        leases=int(tx.all(held)[0][0]),
        deliveries=tuple((r[0], int(r[1])) for r in tx.all(sent)),
    )
