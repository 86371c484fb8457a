"""Days pass while a task waits for a human; every process that knew it is gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from site_of_workers import Site, site, until
from tether.store.tables import metadata

_DAY_MS = 86_400_000
_TIMES = ("since_ms", "ready_ms", "wait_until_ms", "lease_until_ms", "next_at_ms")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site of an agent that asks, on each database."""
    store = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    with site(tmp_path, store, agents={"asks": "honest:asks"}) as made:
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


def _asked_and_left(place: Site) -> str:
    """A task that waits for an answer, and no process at all."""
    worker = place.add_worker()
    handle = place.submit("asks")
    assert handle.wait(timeout=60).state == "paused"
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    return handle.id


def test_a_paused_task_resumes_after_a_week(place: Site) -> None:
    """Almost seven days later other processes answer it and go on with it, at the cost of one poll."""
    task_id = _asked_and_left(place)
    _days_pass(place, 6.9)
    place.add_worker()
    place.client.answer(task_id, "green")
    task = place.client.handle(task_id).wait(until="final", timeout=60)
    assert (task.state, task.result) == ("succeeded", "painted green")


def test_what_waits_longer_than_it_may_ends_with_an_answer(place: Site) -> None:
    """After approval_s the task fails as expired, and says that it may be tried again."""
    task_id = _asked_and_left(place)
    _days_pass(place, 7.1)
    place.add_worker()
    task = until(lambda: t if (t := place.client.get(task_id)).state == "failed" else None, 30, "the end")
    assert task.reason == "expired"
    assert "retry" in task.actions
