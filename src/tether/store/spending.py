"""On what a task's budget went: its calls, summed by what was called."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Account
from tether.store.tables import calls
from tether.task import usd_from_nano

__all__ = ["account"]

_MOST_NAMES = 20  # of each kind: the dearest ones
_cost = func.sum(calls.c.nanousd)
_by_name = Prepared(
    select(calls.c.kind, calls.c.name, func.count().label("calls"), _cost.label("nanousd"))
    .where(calls.c.task_id == bindparam("b_task"), calls.c.kind != "tool")
    .group_by(calls.c.kind, calls.c.name)
    .order_by(_cost.desc(), calls.c.name)
)


def account(tx: Reading, task_id: str) -> Account:
    """The dearest names of each kind."""
    found: dict[str, dict[str, dict[str, float]]] = {"llm": {}, "web": {}, "charge": {}}
    for row in tx.all(_by_name, {"b_task": task_id}):
        if len(found[row.kind]) < _MOST_NAMES:
            found[row.kind][row.name] = {"calls": int(row.calls), "usd": usd_from_nano(int(row.nanousd))}
    return Account(models=found["llm"], web=found["web"], charges=found["charge"])
