"""Settle: what a reserved call really took, keyed by the call and never by the lease, so that nothing stays unbilled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Row, and_, bindparam, func, literal_column, or_, select, update

from tether.events import NewEvent
from tether.store.documents import COUNTERS, counters_of
from tether.store.limits import passed, warn
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.rows import Settle, Settled
from tether.store.tables import budgets, calls, tasks
from tether.store.writing import Writing

__all__ = ["settle", "settle_orphans"]

_COUNTED = {"llm": "llm_calls", "web": "web_requests", "tool": "tool_calls"}


def _given(name: str) -> Any:
    return bindparam(f"b_{name}", type_=BigInteger)


_end_call = Prepared(
    update(calls)
    .where(calls.c.task_id == bindparam("b_task"), calls.c.call_id == bindparam("b_call"), calls.c.state == "held")
    .values(
        state="settled",
        nanousd=func.coalesce(_given("nanousd"), calls.c.hold_nanousd),
        input_tokens=_given("input"),
        output_tokens=_given("output"),
        outcome=bindparam("b_outcome"),
        status=_given("status"),
        name=func.coalesce(bindparam("b_name", type_=calls.c.name.type), calls.c.name),
        context_window=_given("window"),
        ended_at_ms=_given("now"),
    )
    .returning(calls.c.kind, calls.c.hold_nanousd, calls.c.hold_tokens, calls.c.nanousd)
)
_move_money = Prepared(
    update(budgets)
    .where(budgets.c.task_id == bindparam("b_task"))
    .values(
        nanousd=budgets.c.nanousd + _given("nanousd"),
        held_nanousd=budgets.c.held_nanousd - _given("hold"),
        tokens=budgets.c.tokens + _given("tokens"),
        held_tokens=budgets.c.held_tokens - _given("hold_tokens"),
        llm_calls=budgets.c.llm_calls - _given("llm_calls"),
        web_requests=budgets.c.web_requests - _given("web_requests"),
        tool_calls=budgets.c.tool_calls - _given("tool_calls"),
    )
    .returning(*COUNTERS, budgets.c.warned)
)


def settle(tx: Writing, items: Sequence[Settle]) -> list[Settled]:
    """Answers in the order given; an unknown or settled call changes nothing."""
    tx.lock(item.task_id for item in items)
    return [_settle(tx, item) for item in items]


def _settle(tx: Writing, item: Settle) -> Settled:
    ended = tx.one(_end_call, _figures(tx, item))
    row = tx.rows.get(item.task_id)
    if ended is None or row is None:
        return Settled(call_id=item.call_id, fresh=False)
    moved = tx.one(_move_money, _movement(item, ended))
    if item.event is not None:
        tx.note(row, item.event)
    if moved is None:
        return Settled(call_id=item.call_id, fresh=True)
    counters = counters_of(moved)
    warn(tx, row, counters, moved.warned)
    return Settled(call_id=item.call_id, fresh=True, counters=counters, over=passed(counters))


def _figures(tx: Writing, item: Settle) -> dict[str, Any]:
    return {
        "b_task": item.task_id,
        "b_call": item.call_id,
        "b_nanousd": item.nanousd,
        "b_input": item.input_tokens,
        "b_output": item.output_tokens,
        "b_outcome": plain(item.outcome),
        "b_status": item.status,
        "b_name": None if item.name is None else plain(item.name),
        "b_window": item.context_window,
        "b_now": tx.now_ms,
    }


def _movement(item: Settle, ended: Row[Any]) -> dict[str, Any]:
    """Money and tokens from held to spent; without a usage the tokens are what was held, unless the money is given back too."""
    known = item.input_tokens is not None or item.output_tokens is not None or item.nanousd == 0
    tokens = (item.input_tokens or 0) + (item.output_tokens or 0) if known else ended.hold_tokens
    back = {f"b_{column}": 0 for column in _COUNTED.values()}
    if not item.dispatched and ended.kind in _COUNTED:
        back[f"b_{_COUNTED[ended.kind]}"] = 1
    return {
        "b_task": item.task_id,
        "b_nanousd": ended.nanousd,
        "b_hold": ended.hold_nanousd,
        "b_tokens": tokens,
        "b_hold_tokens": ended.hold_tokens,
        **back,
    }


def settle_orphans(tx: Writing, lease_tokens: Sequence[str], older_than_s: float | None, limit: int) -> int:
    """Settle at the hold what nobody will settle any more; returns how many."""
    of_leases = calls.c.lease_token.in_(lease_tokens)
    abandoned = and_(
        calls.c.created_at_ms < tx.now_ms - int((older_than_s or 0) * 1000),
        or_(tasks.c.lease_token.is_(None), tasks.c.lease_token != calls.c.lease_token),
    )
    query = (
        select(calls.c.task_id, calls.c.call_id, calls.c.kind, calls.c.name, calls.c.attempt, calls.c.step, calls.c.hold_nanousd)
        .join(tasks, tasks.c.id == calls.c.task_id)
        .where(literal_column("calls.state = 'held'"), of_leases if older_than_s is None else or_(of_leases, abandoned))
        .order_by(calls.c.task_id)
        .limit(limit)
    )
    items = [_orphan(row) for row in tx.all(query)]
    return sum(answer.fresh for answer in settle(tx, items)) if items else 0


def _orphan(row: Row[Any]) -> Settle:
    outcome = "outcome_unknown" if row.kind == "tool" else "unknown"
    event: NewEvent | None = None
    if row.kind == "llm":
        data = {"call_id": row.call_id, "outcome": "unknown", "model": row.name, "nanousd": row.hold_nanousd, "settled": "hold"}
        event = NewEvent(type="call_ended", attempt=row.attempt, step=row.step, data=data)
    elif row.kind == "web":
        data = {"call_id": row.call_id, "host": row.name, "outcome": "error", "nanousd": row.hold_nanousd}
        event = NewEvent(type="web_request", attempt=row.attempt, step=row.step, data=data)
    return Settle(task_id=row.task_id, call_id=row.call_id, outcome=outcome, event=event)
