"""What a claim costs while a million tasks wait, and how fast tasks come in, on PostgreSQL with fsync on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from facts import cpu_ms, load, tree_of
from rows import Row, median
from servers import Postgres
from tether.store import Store, open_store
from tether.store.rows import NewTask, NewWorker
from tether.store.tables import tasks
from tether.task import Budget, Task, Timeouts

__all__ = ["rows"]

_SIZES = (0, 10_000, 100_000, 1_000_000)
_CLAIMS, _EACH = 30, 4
#: Waiting tasks of twenty tenants as a claim's indexes see them, behind those that are claimed: copies of the newest row.
_CHANGED = {
    "id": "'task_zz' || lpad(n::text, 20, '0')",
    "tenant": "CASE WHEN n %% 20 = 0 THEN 'default' ELSE 't' || n %% 20 END",
    "priority": "CASE WHEN n %% 20 = 0 THEN 0 ELSE -1 END",
}
_MORE = """
INSERT INTO tasks ({names})
SELECT {values} FROM (SELECT * FROM tasks ORDER BY id DESC LIMIT 1) AS t, generate_series({range}) AS n
"""
_PLAN = """
EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) SELECT id FROM tasks
WHERE state = 'queued' AND ready_ms IS NULL AND agent = 'autogpt' AND tenant = 'default' AND priority = 0
ORDER BY id LIMIT 4 FOR UPDATE SKIP LOCKED
"""


def _submit(store: Store, number: int, at_once: int) -> float:
    """Submissions a second."""
    new = NewTask(task=Task(goal="Count the stars"), budget=Budget(), timeouts=Timeouts())
    begun = time.perf_counter()
    for _ in range(number // at_once):
        store.submit_many([new] * at_once)
    return number / (time.perf_counter() - begun)


def _claim(store: Store, name: str, server: Postgres) -> tuple[float, float]:
    """Of one claim: median milliseconds, and milliseconds of CPU of the server's backends, which other load hardly changes."""
    took: list[float] = []
    backends = [pid for pid in tree_of(server.pid) if "tether_" in Path(f"/proc/{pid}/cmdline").read_text()]
    before = cpu_ms(backends)
    for _ in range(_CLAIMS):
        begun = time.perf_counter()
        got = store.claim(name, ["autogpt"], _EACH)
        took.append((time.perf_counter() - begun) * 1000)
        assert len(got) == _EACH
    return median(took), (cpu_ms(backends) - before) / _CLAIMS


def _fill(url: str, first: int, last: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        names = [column.name for column in tasks.c]
        values = ", ".join(_CHANGED.get(name, f't."{name}"') for name in names)
        more = _MORE.format(names=", ".join(f'"{name}"' for name in names), values=values, range="%s::int, %s::int")
        connection.execute(more.encode(), (first + 1, last))
        connection.execute("VACUUM ANALYZE tasks")


def plan(url: str) -> str:
    """How PostgreSQL finds the next tasks of one line."""
    with psycopg.connect(url) as connection:
        return "\n".join(str(row[0]) for row in connection.execute(_PLAN).fetchall())


def rows() -> Iterator[Row]:
    """Submissions, then claims with more and more tasks waiting behind."""
    server = Postgres(durable=True).start()
    try:
        url = server.database()
        store = open_store(url, migrate=True)
        worker = NewWorker(id="bench", host="h", boot_id="b", pid=1, start_time=1, slots=1, agents=("autogpt",))
        store.register_worker(worker, lease_s=3600)
        yield Row(name="submissions in batches of 50", value=_submit(store, 2000, 50), unit="/s", goal=1000, at_most=False)
        yield Row(name="submissions one by one", value=_submit(store, 200, 1), unit="/s")
        waiting = 0
        for size in _SIZES:
            if size > waiting:
                _fill(url, waiting, size)
                waiting = size
            _submit(store, _CLAIMS * _EACH, _CLAIMS * _EACH)
            took, cpu = _claim(store, "bench", server)
            yield Row(name=f"claim of {_EACH}, {size:,} waiting", value=took, unit="ms", note=load())
            yield Row(name=f"claim of {_EACH}, {size:,} waiting, server", value=cpu, unit="ms CPU")
        print(plan(url))
        store.close()
    finally:
        server.stop()
