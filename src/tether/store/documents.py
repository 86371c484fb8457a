"""Small JSON documents beside a task's row (spec, result, partial, progress) and the conversions that several files need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable, Row, bindparam, or_, select

from tether.store.dialect import Dialect
from tether.store.payloads import pack, unpack
from tether.store.prepared import Prepared, among, listed
from tether.store.reading import Reading
from tether.store.rows import Counters
from tether.store.tables import budgets, payloads
from tether.store.writing import Writing
from tether.task import Approval, Timeouts

__all__ = ["COUNTERS", "approval_of", "counters_of", "limits_text", "put_payload", "read_counters", "read_payloads"]

#: The columns of `budgets` that make a Counters, in its order.
COUNTERS = tuple(budgets.c[name] for name in Counters.__dataclass_fields__)


def _upsert(dialect: Dialect) -> Executable:
    statement = dialect.upsert(payloads).values(task_id=bindparam("b_task"), name=bindparam("b_name"), data=bindparam("b_data"))
    return statement.on_conflict_do_update(index_elements=["task_id", "name"], set_={"data": statement.excluded.data})


_upsert_payload = Prepared(_upsert)


def put_payload(tx: Writing, task_id: str, name: str, value: Any) -> int:
    """Store one document of a task, replacing an older one; returns its stored size in bytes."""
    data = pack(value)
    tx.put(_upsert_payload, {"b_task": task_id, "b_name": name, "b_data": data})
    return len(data)


def read_payloads(tx: Reading, task_ids: Sequence[str], names: Sequence[str]) -> dict[tuple[str, str], Any]:
    """(task id, name) -> document."""
    if not task_ids:
        return {}
    given = listed(task_ids)
    rows = tx.all(_payloads_of(len(given), tuple(names)), given)
    return {(row.task_id, row.name): unpack(row.data) for row in rows}


@lru_cache(maxsize=64)
def _payloads_of(size: int, names: tuple[str, ...]) -> Prepared:
    return Prepared(select(payloads).where(among(payloads.c.task_id, size), or_(*(payloads.c.name == name for name in names))))


def counters_of(row: Row[Any]) -> Counters:
    """From a row that starts with COUNTERS."""
    return Counters(**dict(zip(Counters.__dataclass_fields__, row, strict=False)))


def read_counters(tx: Reading, task_ids: Sequence[str]) -> dict[str, Counters]:
    """Task id -> its budget row."""
    if not task_ids:
        return {}
    given = listed(task_ids)
    return {row[-1]: counters_of(row) for row in tx.all(_counters_of(len(given)), given)}


@lru_cache(maxsize=16)
def _counters_of(size: int) -> Prepared:
    return Prepared(select(*COUNTERS, budgets.c.task_id).where(among(budgets.c.task_id, size)))


def limits_text(timeouts: Timeouts) -> str:
    """Timeouts as the row keeps them."""
    return json.dumps(timeouts.document())


def approval_of(row: Row[Any]) -> Approval:
    """From a row of `approvals`."""
    return Approval(
        id=row.id,
        task_id=row.task_id,
        kind=row.kind,
        question=row.question,
        state=row.state,
        details=unpack(row.details),
        key=row.key,
        decision=unpack(row.decision),
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
        decided_at_ms=row.decided_at_ms,
        decided_by=row.decided_by,
    )
