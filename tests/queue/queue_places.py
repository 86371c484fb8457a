"""The queues that one conformance suite goes through."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from brokers import Broker
from tether.config import QueueSettings
from tether.queue import Queue, open_queue


@dataclass(kw_only=True)
class Place:
    """Queue names of its own on one broker, and every queue that was opened there."""

    settings: QueueSettings
    opened: list[Queue] = field(default_factory=list)

    def open(self, *agents: str, tenants: tuple[str, ...] = ()) -> Queue:
        """A new connection."""
        queue = open_queue(self.settings, agents=agents, tenants=tenants)
        self.opened.append(queue)
        return queue


def settings_of(broker: Broker | None, **more: object) -> QueueSettings:
    """A `[queue]` section on this broker (None: in memory) with names that no other test uses."""
    given = broker.settings if broker else {"url": "memory://"}
    if given["url"].startswith("sqs"):
        given = {**given, "options": {"wait_time_seconds": 1}}  # a test that expects nothing need not wait for a long poll
    return QueueSettings.model_validate({**given, "name": f"t{uuid.uuid4().hex[:8]}", **more})


@pytest.fixture(params=["memory", "redis", "rabbitmq", "sqs", "sqs-fifo"])
def place(request: pytest.FixtureRequest, broker_of: Callable[[str], Broker]) -> Iterator[Place]:
    """Each broker in turn."""
    made = Place(settings=settings_of(None if request.param == "memory" else broker_of(request.param)))
    yield made
    for queue in made.opened:
        queue.close()
