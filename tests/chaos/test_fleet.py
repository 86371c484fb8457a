"""Chaos over a fleet: PostgreSQL, two workers, each broker and none; everything breaks in turn, and every task ends, once.

TETHER_CHAOS=full: 500 longer tasks, full outages, and every blow again for as long as there are tasks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from brokers import Broker, Moto, RabbitMQ, Redis
from servers import Postgres
from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.task import TaskDocument
from tether.testing import ScriptedModels, reply
from weather import Weather, book_of, check_book, check_calls, check_journal, toml_of

_FULL = os.environ.get("TETHER_CHAOS") == "full"
_TASKS = int(os.environ.get("TETHER_CHAOS_TASKS", "500" if _FULL else "125"))
_FREEZE_S, _AWAY_S = (12.0, 30.0) if _FULL else (4.0, 5.0)
_PAUSE_S = 4.0 if _FULL else 0.5
_STEPS, _TICKS = 3, 40 if _FULL else 4
_BROKERS: dict[str, Callable[[], Broker]] = {"redis": Redis, "rabbitmq": RabbitMQ, "sqs": Moto}


@pytest.fixture(params=["none", *_BROKERS])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker | None]:
    """A broker for this test alone, or none."""
    if request.param == "none":
        yield None
        return
    made = _BROKERS[request.param]()
    made.start()
    yield made
    made.close()


def _submit_all(place: Site, book: Path, number: int) -> list[TaskHandle]:
    given = {"book": str(book), "steps": _STEPS, "ticks": _TICKS}
    return [place.submit("counted", f"count {n}", input=given, tenant=f"t{n % 5}", max_attempts=20) for n in range(number)]


def _finished(handle: TaskHandle) -> TaskDocument:
    """The task once it is final; one that met three kills at one checkpoint is in quarantine, and a human lets it go on."""
    task = handle.wait(timeout=240)
    while task.state == "paused":
        assert task.reason == "escalated", task.message
        handle.approve(by="anna")
        task = handle.wait(timeout=240)
    return task


def _all_done(handles: Sequence[TaskHandle], weather: Weather) -> list[TaskDocument]:
    """Every kind of blow once at least (all from this thread: servers die with the thread that started them), then the tasks."""
    while True:
        for blow in weather.kinds():
            weather.blow(blow)
            time.sleep(_PAUSE_S)
        if not (_FULL and any(handle.document().state in ("queued", "running") for handle in handles)):
            break
    return [_finished(handle) for handle in handles]


@pytest.mark.chaos
@pytest.mark.timeout(1800 if _FULL else 600)
def test_whatever_breaks_every_task_ends_once(tmp_path: Path, postgres_of_my_own: Postgres, broker: Broker | None) -> None:
    """Killed workers, gateways, zygotes, a broker that hangs, forgets, repeats and goes away, a store that restarts."""
    book = book_of(tmp_path)
    with ScriptedModels(lambda request: reply(f"yes {request.asked}")) as models:
        store, more = postgres_of_my_own.database(), toml_of(models, book, broker)
        with site(tmp_path, store, agents={}, slots=8, lease_s=3.0, more=more) as place:
            place.add_worker()
            place.add_worker()
            handles = _submit_all(place, book, _TASKS)
            weather = Weather(site=place, postgres=postgres_of_my_own, broker=broker, freeze_s=_FREEZE_S, away_s=_AWAY_S)
            tasks = _all_done(handles, weather)
            assert {task.state for task in tasks} == {"succeeded"}, [t.message for t in tasks if t.state != "succeeded"]
            again = check_book(book, tasks)
            until(lambda: not any(task.usage.held_nanousd for task in tasks), what="settled calls")
            check_calls(models, tasks, _STEPS, again)
            for handle, task in zip(handles, tasks, strict=True):
                check_journal(handle, task)
            until(lambda: not place.survivors(), 10, "the end of all attempts")
            print(f"{len(tasks)} tasks, {sum(len(t.attempts) for t in tasks)} attempts, blows: {', '.join(weather.blows)}")
