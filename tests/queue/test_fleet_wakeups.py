"""A real worker that hardly ever looks by itself: whoever stores a task has to wake it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_server import serving_by
from brokers import Broker
from queue_places import settings_of
from site_of_workers import Site, site, until
from tether.client import Client
from tether.task import Task

BROKERS = ["redis", "rabbitmq", "sqs"]


@contextmanager
def _sleepy(folder: Path, store: str, broker: Broker) -> Generator[Site]:
    """A worker of two agents with ten minutes between looks, which hears of messages."""
    queue = settings_of(broker)
    given = {"url": queue.url, "name": queue.name, "region": queue.region, "endpoint": queue.endpoint}
    more = "[queue]\npoll_s = 600\n" + "".join(f'{key} = "{value}"\n' for key, value in given.items())
    with site(folder, store, agents={"greet": "honest:greet", "asks": "honest:asks"}, more=more) as place:
        place.add_worker()
        heard = 2 if queue.url.startswith("sqs") else 1
        until(lambda: place.log().count("listener: the broker answers") == heard, what="listeners")
        yield place


@pytest.mark.parametrize("name", BROKERS)
def test_every_submission_wakes_a_worker(
    name: str, tmp_path: Path, postgres_database: str, broker_of: Callable[[str], Broker]
) -> None:
    """With ten minutes between looks each of twenty tasks starts at once: announcing a row never hides it from the claim."""
    with _sleepy(tmp_path, postgres_database, broker_of(name)) as place:
        for number in range(20):
            assert place.submit("greet", f"{number}").wait(timeout=30).state == "succeeded"


@pytest.mark.parametrize("name", BROKERS)
def test_the_api_wakes_workers_too(name: str, tmp_path: Path, postgres_database: str, broker_of: Callable[[str], Broker]) -> None:
    """A task over HTTP starts at once, and goes on at once when its question is answered over HTTP."""
    with (
        _sleepy(tmp_path, postgres_database, broker_of(name)) as place,
        serving_by(place.settings) as server,
        Client(server.url, api_key=server.key) as client,
    ):
        for _ in range(5):
            handle = client.submit(Task(goal="Paint it", agent="asks"))
            assert handle.wait(timeout=30).state == "paused"
            handle.answer("green")
            assert handle.wait(until="final", timeout=30).result == "painted green"
