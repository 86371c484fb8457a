"""How many durable journal records a second the store takes, batched as the supervisor's journal thread batches them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Row, median
from servers import Postgres, ServerMissing
from tether.events import NewEvent
from tether.store import Store, open_store
from tether.store.rows import Claim, Entry, NewTask, NewWorker
from tether.task import Budget, Task, Timeouts

TASKS = 32
RECORDS_EACH = 4
MEASURED_S = 4.0
SINGLES = 200


def rows() -> Iterator[Row]:
    """SQLite with synchronous=FULL in a temporary folder, PostgreSQL with fsync; both wait for the disk at each commit."""
    with tempfile.TemporaryDirectory() as folder:
        yield from measure("SQLite", f"sqlite:///{Path(folder) / 'tether.db'}", goal=2000)
    try:
        server = Postgres(durable=True)
    except ServerMissing:
        return
    try:
        yield from measure("PostgreSQL", server.start().database(), goal=3000)
    finally:
        server.stop()


def measure(kind: str, url: str, goal: float) -> Iterator[Row]:
    """Batches of one entry for each of 32 tasks, then single records one after another."""
    store = open_store(url, migrate=True)
    try:
        claims = claimed(store)
        batch = [entry(claim, RECORDS_EACH) for claim in claims]
        count, started = 0, time.monotonic()
        while (passed := time.monotonic() - started) < MEASURED_S:
            assert all(written.ok for written in store.journal(batch))
            count += TASKS * RECORDS_EACH
        note = f"{TASKS} tasks, {RECORDS_EACH} each per commit"
        yield Row(name=f"{kind} records", value=count / passed, unit="records/s", goal=goal, at_most=False, note=note)
        yield Row(name=f"{kind} one record", value=median(list(singles(store, claims[0]))), unit="ms")
    finally:
        store.close()


def singles(store: Store, claim: Claim) -> Iterator[float]:
    """Milliseconds of each of many commits with a single record."""
    for _ in range(SINGLES):
        started = time.perf_counter()
        store.journal([entry(claim, 1)])
        yield (time.perf_counter() - started) * 1000


def claimed(store: Store) -> list[Claim]:
    """Tasks that a worker holds."""
    store.submit_many([NewTask(task=Task(goal=f"task {n}"), budget=Budget(), timeouts=Timeouts()) for n in range(TASKS)])
    worker = NewWorker(id="bench", host="here", boot_id="b", pid=os.getpid(), start_time=0, slots=TASKS, agents=("autogpt",))
    store.register_worker(worker, lease_s=600)
    claims = store.claim("bench", ["autogpt"], TASKS)
    assert len(claims) == TASKS
    return claims


def entry(claim: Claim, records: int) -> Entry:
    """What an attempt writes in one go: tool calls with a few hundred bytes each."""
    data = {
        "call_id": "call_0123456789",
        "name": "web_fetch",
        "args": {"url": "https://example.com/" + "x" * 200},
        "timeout_s": 30,
    }
    events = tuple(NewEvent(type="tool_started", data=data, attempt=claim.attempt, step=1) for _ in range(records))
    return Entry(task_id=claim.task_id, lease_token=claim.lease_token, attempt=claim.attempt, events=events)
