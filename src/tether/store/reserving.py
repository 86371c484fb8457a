"""Reserve: before anything is spent, one conditional UPDATE on the budget row says yes or no, whatever else goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, case, exists, insert, or_, select, update

from tether.store.documents import COUNTERS, counters_of
from tether.store.limits import LIMITS, Limit, passed, warn
from tether.store.payloads import plain
from tether.store.prepared import Prepared
from tether.store.rows import Refused, Reserve, Reserved
from tether.store.tables import budgets, calls
from tether.store.writing import Writing

__all__ = ["reserve"]

_COUNTED = {"llm": "llm_calls", "web": "web_requests", "tool": "tool_calls", "step": "steps"}
_insert_call = Prepared(insert(calls))


def _given(name: str) -> ColumnElement[int]:
    return bindparam(f"b_{name}", type_=BigInteger)


def _fits(limit: Limit) -> ColumnElement[bool]:
    """What is asked of this limit (nothing asked always fits) beside what is taken and kept back."""
    columns = budgets.c
    taken = columns[limit.used] + columns[limit.held] if limit.held else columns[limit.used]
    allowed = columns[limit.allowed]
    if limit.kept:
        allowed = allowed - case((_given("final") == 1, 0), else_=columns[limit.kept])
    return or_(_given(limit.used) == 0, taken + _given(limit.used) <= allowed)


_used_before = exists().where(calls.c.task_id == bindparam("b_task"), calls.c.call_id == bindparam("b_call"))
_mine = and_(
    budgets.c.task_id == bindparam("b_task"), budgets.c.lease_token == bindparam("b_lease"), budgets.c.open == 1, ~_used_before
)
_answer = (*COUNTERS, budgets.c.warned)
_take = Prepared(
    update(budgets)
    .where(_mine, *map(_fits, LIMITS))
    .values({limit.held or limit.used: budgets.c[limit.held or limit.used] + _given(limit.used) for limit in LIMITS})
    .returning(*_answer)
)
_charge = Prepared(update(budgets).where(_mine).values(nanousd=budgets.c.nanousd + _given("nanousd")).returning(*_answer))
_known_call = Prepared(
    select(calls.c.lease_token).where(calls.c.task_id == bindparam("b_task"), calls.c.call_id == bindparam("b_call"))
)
_look = Prepared(
    select(*COUNTERS, budgets.c.lease_token, budgets.c.open, *(budgets.c[limit.kept] for limit in LIMITS if limit.kept)).where(
        budgets.c.task_id == bindparam("b_task")
    )
)


def reserve(tx: Writing, items: Sequence[Reserve]) -> list[Reserved | Refused]:
    """Each item granted or refused by itself, in the order given."""
    tx.lock(item.task_id for item in items)
    fresh: dict[tuple[str, str], str] = {}
    return [_reserve(tx, item, fresh) for item in items]


def _reserve(tx: Writing, item: Reserve, fresh: dict[tuple[str, str], str]) -> Reserved | Refused:
    """fresh: (task id, call id) -> lease token of those that are reserved in this transaction."""
    if (item.task_id, item.call_id) in fresh:
        return _again(tx, item, fresh[item.task_id, item.call_id])
    row = tx.rows.get(item.task_id)
    granted = tx.one(_charge if item.kind == "charge" else _take, _asked(item)) if row else None
    if row is None or granted is None:
        known = tx.one(_known_call, {"b_task": item.task_id, "b_call": item.call_id})
        return _refusal(tx, item) if known is None else _again(tx, item, known.lease_token)
    counters = counters_of(granted)
    if item.kind != "step":
        fresh[item.task_id, item.call_id] = item.lease_token
        tx.put(_insert_call, _call(tx, item))
    if item.event is not None:
        tx.note(row, item.event)
    warn(tx, row, counters, granted.warned)
    over = next(iter(passed(counters)), None) if item.kind == "charge" else None
    return Reserved(call_id=item.call_id, counters=counters, over=over)


def _asked(item: Reserve) -> dict[str, Any]:
    asked = {f"b_{limit.used}": 0 for limit in LIMITS}
    asked |= {"b_nanousd": item.hold_nanousd, "b_tokens": item.hold_tokens}
    if item.kind in _COUNTED:
        asked[f"b_{_COUNTED[item.kind]}"] = 1
    return {**asked, "b_final": int(item.final), "b_task": item.task_id, "b_lease": item.lease_token, "b_call": item.call_id}


def _call(tx: Writing, item: Reserve) -> dict[str, Any]:
    charge = item.kind == "charge"
    return {
        "task_id": item.task_id,
        "call_id": item.call_id,
        "lease_token": item.lease_token,
        "attempt": item.attempt,
        "step": item.step,
        "kind": item.kind,
        "name": plain(item.name),
        "state": "settled" if charge else "held",
        "hold_nanousd": 0 if charge else item.hold_nanousd,
        "hold_tokens": item.hold_tokens,
        "nanousd": item.hold_nanousd if charge else 0,
        "outcome": "ok" if charge else None,
        "created_at_ms": tx.now_ms,
        "ended_at_ms": tx.now_ms if charge else None,
    }


def _again(tx: Writing, item: Reserve, lease_token: str) -> Reserved | Refused:
    """Asked for a second time: the same lease gets the same answer, anybody else must choose another id."""
    found = tx.one(_look, {"b_task": item.task_id})
    counters = counters_of(found) if found else None
    if counters is None or lease_token != item.lease_token:
        return Refused(call_id=item.call_id, limit="call_id", counters=counters)
    return Reserved(call_id=item.call_id, counters=counters, repeated=True)


def _refusal(tx: Writing, item: Reserve) -> Refused:
    """Says which limit was in the way."""
    found = tx.one(_look, {"b_task": item.task_id})
    if found is None or found.lease_token != item.lease_token:
        return Refused(call_id=item.call_id, limit="lease")
    counters = counters_of(found)
    if not found.open:
        return Refused(call_id=item.call_id, limit="paused", counters=counters)
    asked = _asked(item)
    room = {limit.key: _room(limit, counters, found, final=item.final) for limit in LIMITS}
    limit = next(limit for limit in LIMITS if asked[f"b_{limit.used}"] > max(room[limit.key], 0))
    return Refused(
        call_id=item.call_id,
        limit=limit.key,
        used=limit.taken(counters),
        allowed=limit.most(counters),
        left_nanousd=max(room["max_usd"], 0),
        left_tokens=max(room["max_tokens"], 0),
        counters=counters,
    )


def _room(limit: Limit, counters: Any, found: Any, *, final: bool) -> int:
    kept = getattr(found, limit.kept) if limit.kept and not final else 0
    return limit.most(counters) - kept - limit.taken(counters)
