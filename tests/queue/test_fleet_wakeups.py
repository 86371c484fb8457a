"""A real worker that hardly ever looks by itself: every submission has to wake it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brokers import Broker
from queue_places import settings_of
from site_of_workers import site, until


@pytest.mark.parametrize("name", ["redis", "rabbitmq", "sqs"])
def test_every_submission_wakes_a_worker(
    name: str, tmp_path: Path, postgres_database: str, broker_of: Callable[[str], Broker]
) -> None:
    """With ten minutes between looks each of twenty tasks starts at once: announcing a row never hides it from the claim."""
    queue = settings_of(broker_of(name))
    given = {"url": queue.url, "name": queue.name, "region": queue.region, "endpoint": queue.endpoint}
    more = "[queue]\npoll_s = 600\n" + "".join(f'{key} = "{value}"\n' for key, value in given.items())
    with site(tmp_path, postgres_database, agents={"greet": "honest:greet"}, more=more) as place:
        place.add_worker()
        until(lambda: "listener: the broker answers" in place.log(), what="a listener")
        for number in range(20):
            assert place.submit("greet", f"{number}").wait(timeout=30).state == "succeeded"
