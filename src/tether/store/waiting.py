"""Finding what to claim: the lines of waiting tasks, divided fairly; never reads more than a row per line and the rows it takes.

A claim costs a few index probes per waiting tenant, however many tasks wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, Executable, Integer, and_, bindparam, func, literal_column, select, text

from tether.store.dialect import Dialect
from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Hold
from tether.store.sharing import Line, Shares
from tether.store.tables import holds, tasks
from tether.store.taskrow import TaskRow, select_tasks
from tether.store.writing import Writing

__all__ = ["Wanted", "candidates"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a worker may claim. tenants: empty for all; limits: see sharing.Shares; release: None for any checkpoint."""

    agents: tuple[str, ...]
    tenants: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    release: int | None = None


# Written out, because a partial index is only used where its condition is seen in the statement.
_QUEUED = "tasks.state = 'queued' AND tasks.ready_ms IS NULL"
_queued = literal_column(_QUEUED)
_MINE = f"{_QUEUED} AND tasks.agent = :b_agent"
#: From one tenant to the next by the index: as many probes as tenants wait.
_lines = Prepared(
    text(
        f"""
        WITH RECURSIVE line (tenant) AS (
            SELECT min(tenant) FROM tasks WHERE {_MINE}
            UNION ALL
            SELECT (SELECT min(tenant) FROM tasks WHERE {_MINE} AND tenant > line.tenant) FROM line WHERE line.tenant IS NOT NULL
        )
        SELECT tenant,
            (SELECT priority FROM tasks WHERE {_MINE} AND tenant = line.tenant ORDER BY priority DESC, id LIMIT 1) AS priority,
            (SELECT id FROM tasks WHERE {_MINE} AND tenant = line.tenant ORDER BY priority DESC, id LIMIT 1) AS head
        FROM line WHERE tenant IS NOT NULL
        """
    )
)
_line = (_queued, tasks.c.agent == bindparam("b_agent"), tasks.c.tenant == bindparam("b_tenant"))
_lower = Prepared(
    select(tasks.c.priority, tasks.c.id)
    .where(*_line, tasks.c.priority < bindparam("b_priority"))
    .order_by(tasks.c.priority.desc(), tasks.c.id)
    .limit(1)
)
#: What a release that nobody named understands: everything.
_NEWEST = (1 << 31) - 1
_head = (*_line, tasks.c.priority == bindparam("b_priority"), tasks.c.id > bindparam("b_after"))


def _all_of_line(dialect: Dialect) -> Executable:
    query = select_tasks().where(*_head, tasks.c.needs <= bindparam("b_release")).order_by(tasks.c.id)
    return dialect.locked(query.limit(bindparam("b_n", type_=Integer)), skip=True)


_heads = Prepared(_all_of_line)
_holds = Prepared(select(holds).where(holds.c.stop == "claims"))
_running = Prepared(
    select(tasks.c.agent, tasks.c.tenant, func.count().label("number"))
    .where(literal_column("tasks.lease_token IS NOT NULL"), tasks.c.parked == 0)
    .group_by(tasks.c.agent, tasks.c.tenant)
)


def candidates(tx: Writing, wanted: Wanted, n: int) -> list[TaskRow]:
    """Up to n rows to lease, locked: highest priority first, fair between tenants, oldest first within one."""
    held = [Hold(**{name: getattr(row, name) for name in Hold.__dataclass_fields__}) for row in tx.all(_holds)]
    lines = [line for line in _waiting(tx, wanted) if not any(_stops(hold, line) for hold in held)]
    if not lines:
        return []
    if wanted.limits:
        # Two claims at once would both see room for the last attempt of a limit.
        tx.dialect.alone(tx.connection, "claims")
    counted = len({line.tenant for line in lines}) > 1 or wanted.limits
    running = {(row.agent, row.tenant): row.number for row in tx.all(_running)} if counted else {}
    release = _NEWEST if wanted.release is None else wanted.release
    found = _take(tx, lines, Shares(running, wanted.limits), _Condition(release=release, others=_other_holds(held)), n)
    return sorted(found, key=lambda row: (-row.priority, row.id))


@dataclass(frozen=True, kw_only=True)
class _Condition:
    """What may be taken of a line: what this release understands, and is not held."""

    release: int
    others: list[ColumnElement[bool]]


def _take(tx: Writing, lines: list[Line], shares: Shares, condition: _Condition, n: int) -> list[TaskRow]:
    found: list[TaskRow] = []
    last: dict[Line, str] = {}
    while len(found) < n and (given := shares.divide(lines, n - len(found))):
        for line, number in given.items():
            rows = _first(tx, line, last.get(line, ""), number, condition)
            found += rows
            if len(rows) < number:
                # The rest of this line is gone, or being claimed by another worker.
                shares.count(line, len(rows) - number)
                lines = [*(other for other in lines if other != line), *_next(tx, line)]
            else:
                last[line] = rows[-1].id
    return found


def _waiting(tx: Reading, wanted: Wanted) -> list[Line]:
    return [
        Line(agent=agent, tenant=row.tenant, priority=row.priority, head=row.head)
        for agent in dict.fromkeys(wanted.agents)
        for row in tx.all(_lines, {"b_agent": agent})
        if not wanted.tenants or row.tenant in wanted.tenants
    ]


def _next(tx: Reading, line: Line) -> list[Line]:
    """What the same tenant has waiting at a lower priority."""
    row = tx.one(_lower, {"b_agent": line.agent, "b_tenant": line.tenant, "b_priority": line.priority})
    return [] if row is None else [replace(line, priority=row.priority, head=row.id)]


def _first(tx: Writing, line: Line, after: str, n: int, condition: _Condition) -> list[TaskRow]:
    given = {"b_agent": line.agent, "b_tenant": line.tenant, "b_priority": line.priority, "b_after": after}
    given |= {"b_release": condition.release, "b_n": n}
    if not condition.others:
        return [TaskRow.of(row) for row in tx.all(_heads, given)]
    query = select_tasks().where(*_head, tasks.c.needs <= bindparam("b_release"), *condition.others).order_by(tasks.c.id)
    limited = query.limit(bindparam("b_n", type_=Integer))
    return [TaskRow.of(row) for row in tx.all(tx.dialect.locked(limited, skip=True), given)]


def _stops(hold: Hold, line: Line) -> bool:
    """Whether a hold stops the whole line."""
    return hold.task_type is None and hold.agent in (None, line.agent) and hold.tenant in (None, line.tenant)


def _other_holds(held: Sequence[Hold]) -> list[ColumnElement[bool]]:
    """Conditions that leave out the held part of a line: a hold of a task type."""
    conditions: list[ColumnElement[bool]] = []
    for hold in held:
        if hold.task_type is not None:
            named = {"agent": hold.agent, "task_type": hold.task_type, "tenant": hold.tenant}
            matches = [tasks.c[name] == value for name, value in named.items() if value is not None]
            conditions.append(~and_(*matches))
    return conditions
