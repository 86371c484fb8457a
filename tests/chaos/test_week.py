"""A week passes while a task waits for a human; every process that knew it is gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from servers import Postgres
from site_of_workers import Site, site, until
from tether.client import Client
from tether.config import load
from tether.store import open_store
from tether.store.tables import metadata

_DAY_MS = 86_400_000
_WEEKS_S = 14 * 86_400
_TIMES = ("since_ms", "ready_ms", "wait_until_ms", "lease_until_ms", "next_at_ms")


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest) -> Postgres | None:
    """A PostgreSQL that the test may restart, or None for SQLite."""
    return request.getfixturevalue("postgres_of_my_own") if request.param == "postgres" else None


@pytest.fixture
def place(server: Postgres | None, tmp_path: Path) -> Iterator[Site]:
    """A site of an agent that works for some steps and then asks, on each database."""
    with site(tmp_path, None if server is None else server.database(), agents={"asks": "honest:walks_then_asks"}) as made:
        yield made


def _days_pass(place: Site, days: float) -> None:
    """Every time in the store lies that much further back: what its clock would show then."""
    engine = create_engine(place.settings.store_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            times = [column for column in table.c if column.name.endswith("_at_ms") or column.name in _TIMES]
            if times:
                connection.execute(update(table).values({column.name: column - int(days * _DAY_MS) for column in times}))
    engine.dispose()


def _stopped(place: Site) -> None:
    """No worker is left, nor anything it had started."""
    for worker in place.workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    until(lambda: not place.survivors(), 10, "the end of all attempts")


def _tidied(place: Site, days: float) -> int:
    """What a server does now and then: expire waits, delete what ended so many days ago; how many were deleted."""
    with closing(open_store(place.settings.store_url)) as store:
        store.expire_waits()
        return store.prune(days * 86_400)


def test_a_paused_task_resumes_after_a_week(place: Site, server: Postgres | None) -> None:
    """Seven days later other workers, behind another database server, go on where it stood; what ended then is deleted."""
    place.add_worker()
    waiting = place.submit("asks", timeouts={"approval_s": _WEEKS_S})
    assert waiting.wait(timeout=60).state == "paused"
    ended = place.submit("asks")
    ended.wait(timeout=60)
    ended.cancel()
    _stopped(place)
    if server is not None:
        server.restart()
    _days_pass(place, 7)
    assert _tidied(place, 5) == 1
    place.add_worker()
    with Client.of(load(place.file)) as client:
        client.answer(waiting.id, "green")
        task = client.handle(waiting.id).wait(until="final", timeout=60)
    assert (task.state, [attempt.number for attempt in task.attempts]) == ("succeeded", [1, 2])
    assert task.result == {"steps": [[0, 1], [1, 1], [2, 1]], "colour": "green"}
    assert task.usage.steps >= 3, "what it had used before is still counted"


def test_what_waits_longer_than_it_may_ends_with_an_answer(place: Site) -> None:
    """After approval_s, a week unless said otherwise, the task fails as expired, and says that it may be tried again."""
    place.add_worker()
    handle = place.submit("asks")
    assert handle.wait(timeout=60).state == "paused"
    _stopped(place)
    _days_pass(place, 6.9)
    _tidied(place, 5)
    assert handle.document().state == "paused"
    _days_pass(place, 0.2)
    place.add_worker()
    task = until(lambda: t if (t := handle.document()).state == "failed" else None, 30, "the end")
    assert task.reason == "expired"
    assert "retry" in task.actions
