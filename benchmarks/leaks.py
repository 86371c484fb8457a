"""Whether anything grows while 4 workers have 50 attempts each at work for BENCH_MINUTES (1 by default).

PostgreSQL and Redis; every attempt makes steps with a model call and a checkpoint in each for some seconds, then another begins.
Measured at rest, after a warm-up and after the load.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from brokers import Redis
from facts import may_open_more, memory_mb, tree_of
from rows import Row
from servers import Postgres
from site_of_workers import Site, site, until
from tether.testing import ScriptedModels, reply

__all__ = ["rows"]

_CODE = Path(__file__).resolve().parent / "fleet_agents"
_MINUTES = float(os.environ.get("BENCH_MINUTES", "1"))
_WORKERS, _SLOTS, _STEPS = 4, 50, 4
_PAUSE_S = 3.0
_WARM_S = 30.0
_REST_S = 300.0
_TOML = """\
[queue]
url = "{queue}"
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.work]
entry = "lines:work"
code_dir = "{code}"
"""


@dataclass(frozen=True, kw_only=True)
class _Rest:
    """What the workers hold while they have nothing to do."""

    memory_mb: float
    descriptors: int
    processes: int
    connections: int
    leases: int


def _submit(place: Site, number: int) -> None:
    place.submit("work", f"work {number}", input={"steps": _STEPS, "pause_s": _PAUSE_S})


def _load(place: Site, seconds: float) -> int:
    """Keep every slot busy for so long, and wait until all is done; how many tasks that were."""
    until_s, submitted = time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        missing = _WORKERS * _SLOTS + 20 - _open(place)
        for _ in range(missing):
            _submit(place, submitted)
            submitted += 1
        time.sleep(0.5)
    until(lambda: _open(place) == 0, _REST_S, "the end of all tasks")
    until(lambda: not place.survivors(), _REST_S, "the end of all attempts")
    return submitted


def _open(place: Site) -> int:
    with psycopg.connect(place.settings.store_url) as connection:
        row = connection.execute("SELECT count(*) FROM tasks WHERE state IN ('queued', 'running')").fetchone()
    return 0 if row is None else int(row[0])


def _at_rest(place: Site) -> _Rest:
    time.sleep(20.0)  # connections to models are kept open for 15 s
    pids = [pid for worker in place.workers for pid in tree_of(worker.pid)]
    with psycopg.connect(place.settings.store_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tether' AND datname = current_database()),"
            " (SELECT count(*) FROM tasks WHERE lease_token IS NOT NULL) + (SELECT count(*) FROM budgets WHERE open = 1)"
            " + (SELECT count(*) FROM attempts WHERE ended_at_ms IS NULL)"
        ).fetchone()
    assert row is not None
    return _Rest(
        memory_mb=memory_mb(pids, "Pss"),
        descriptors=sum(_descriptors(pid) for pid in pids),
        processes=len(pids),
        connections=row[0],
        leases=row[1],
    )


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def _grown(before: _Rest, after: _Rest, tasks: int) -> Iterator[Row]:
    note = f"{tasks} attempts; {before.memory_mb:.0f} MB before"
    yield Row(name="memory of all workers, grown by", value=after.memory_mb - before.memory_mb, unit="MB", goal=40.0, note=note)
    for name, held in (("descriptors", before.descriptors), ("processes", before.processes), ("connections", before.connections)):
        grown = getattr(after, name) - held
        yield Row(name=f"{name}, grown by", value=grown, unit="", goal=0, note=f"{held} before")
    yield Row(name="leases, budgets and attempts left open", value=after.leases, unit="", goal=0)


def rows() -> Iterator[Row]:
    """A warm-up in which every slot is used, then the load that counts."""
    may_open_more()
    server, broker = Postgres().start(), Redis()
    try:
        broker.start()
        with (
            tempfile.TemporaryDirectory(prefix="tether-bench-") as folder,
            ScriptedModels(lambda request: reply(f"yes {request.asked}")) as models,
        ):
            more = _TOML.format(queue=broker.url, upstream=models.base_url, code=_CODE)
            with site(Path(folder), server.database(), agents={}, slots=_SLOTS, lease_s=6.0, more=more) as place:
                for _ in range(_WORKERS):
                    place.add_worker()
                _load(place, _WARM_S)
                before = _at_rest(place)
                tasks = _load(place, _MINUTES * 60)
                yield from _grown(before, _at_rest(place), tasks)
    finally:
        broker.close()
        server.stop()
