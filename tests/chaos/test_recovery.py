"""Who may go on when nobody can be asked: a worker cut off, a store that was away, clocks that differ."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import Broker
from servers import Postgres
from site_of_workers import site, until
from tether.testing import ScriptedModels, reply
from weather import book_of, check_book, check_journal, toml_of
from wire import Cable, CannotLay, Wires


@pytest.fixture
def models() -> Iterator[ScriptedModels]:
    """A model that agrees."""
    with ScriptedModels(lambda request: reply(f"yes {request.asked}")) as started:
        yield started


def _long(book: Path, ticks: int = 100) -> dict[str, object]:
    return {"book": str(book), "steps": 3, "ticks": ticks}


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Wires]:
    """The way of one worker to all servers: proxies that stop; a network namespace on a cable, where root may make one."""
    try:
        made = Wires() if request.param == "wires" else Cable()
    except CannotLay as problem:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(str(problem))
        pytest.skip(str(problem))
    yield made
    made.close()


@pytest.mark.parametrize(("line", "name"), [("wires", "none"), ("cable", "redis"), ("cable", "rabbitmq")], indirect=["line"])
def test_a_worker_cut_off_stops_before_another_takes_over(
    tmp_path: Path,
    postgres_database: str,
    models: ScriptedModels,
    broker_of: Callable[[str], Broker],
    line: Wires,
    name: str,
) -> None:
    """Its attempt stands still before the lease ends, the task goes on elsewhere; reconnected, it ends the old one and serves."""
    book, store = book_of(tmp_path), postgres_database
    broker = None if name == "none" else broker_of(name)
    folders = [tmp_path / "cut", tmp_path / "whole"]
    for folder in folders:
        folder.mkdir()
    more = toml_of(models, book, broker)
    with (
        site(folders[0], store, agents={}, lease_s=3.0, more=more) as cut,
        site(folders[1], store, agents={}, lease_s=3.0, more=more) as whole,
    ):
        cut.file.write_text(line.urls(cut.file.read_text()))
        cut.add_worker(line.prefix)
        handle = whole.submit("counted", input=_long(book))
        until(lambda: "tick" in book.read_text(), what="work")
        line.cut()
        other = whole.add_worker()
        task = until(lambda: t if len((t := handle.document()).attempts) == 2 else None, 60, "a second attempt")
        assert [attempt.reason for attempt in task.attempts][:1] == ["worker_lost"]
        task = handle.wait(timeout=60)
        line.mend()
        assert task.state == "succeeded"
        check_book(book, [task])
        check_journal(handle, handle.document())
        until(lambda: "was given up" in cut.log(), 60, "the news")
        until(lambda: not cut.survivors(), 10, "the end of the old attempt")
        other.send_signal(signal.SIGTERM)
        other.wait(30)
        until(lambda: len(whole.client.workers()) == 1, 30, "a worker under a new name")
        assert whole.submit("counted", input=_long(book, 1)).wait(timeout=60).state == "succeeded", cut.log()


def test_after_an_outage_of_the_store_nobody_takes_from_the_living(
    tmp_path: Path, postgres_of_my_own: Postgres, models: ScriptedModels
) -> None:
    """All leases ended while PostgreSQL was away for two of them; every attempt goes on where it stood, none twice."""
    book = book_of(tmp_path)
    store = postgres_of_my_own.database()
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    more = toml_of(models, book, None)
    with (
        site(folders[0], store, agents={}, slots=2, lease_s=2.0, more=more) as one,
        site(folders[1], store, agents={}, slots=2, lease_s=2.0, more=more) as two,
    ):
        one.add_worker()
        two.add_worker()
        handles = [one.submit("counted", input=_long(book)) for _ in range(4)]
        until(lambda: len({line.split()[0] for line in book.read_text().splitlines()}) == 4, what="work")
        postgres_of_my_own.kill()
        until(lambda: "froze" in one.log() and "froze" in two.log(), 30, "standing still")
        postgres_of_my_own.start()
        tasks = [handle.wait(timeout=90) for handle in handles]
        assert {task.state for task in tasks} == {"succeeded"}
        check_book(book, tasks)
        assert [len(task.attempts) for task in tasks] == [1] * 4, one.log() + two.log()
