"""Every broker keeps the same few promises, which is all that wake-ups need."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from brokers import Broker, Redis, running
from queue_places import Place, settings_of
from tether.errors import ConfigurationError, QueueUnavailable
from tether.queue import Queue, WakeUp, open_queue

_SOON_S = 15.0


@dataclass(frozen=True)
class Wake:
    """A task to announce."""

    task_id: str
    agent: str = "mine"
    tenant: str = "default"
    priority: int = 0


def received(queue: Queue, timeout_s: float = _SOON_S) -> WakeUp:
    """The next wake-up, which must come."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        wakeup = queue.next(0.5)
        if wakeup is not None:
            return wakeup
    raise AssertionError("no wake-up came")


def test_what_is_announced_arrives_once_acknowledged(place: Place) -> None:
    """Each announced task wakes one listener of its agent, once."""
    sender, listener = place.open(), place.open("mine", "other")
    sender.announce([Wake("task_1"), Wake("task_2", agent="other"), Wake("task_3")])
    got: list[str] = []
    for _ in range(3):
        wakeup = received(listener)
        got.append(wakeup.task_id)
        listener.ack(wakeup, more=True)
    assert sorted(got) == ["task_1", "task_2", "task_3"]
    assert listener.next(0.5) is None


def test_a_listener_hears_only_its_agents(place: Place) -> None:
    """What is for another agent stays for a worker that has it."""
    sender, mine, other = place.open(), place.open("mine"), place.open("other")
    sender.announce([Wake("task_1", agent="other"), Wake("task_2")])
    wakeup = received(mine)
    assert wakeup.task_id == "task_2"
    mine.ack(wakeup, more=True)
    assert mine.next(0.5) is None
    assert received(other).task_id == "task_1"


def test_what_is_given_back_wakes_another_worker(place: Place) -> None:
    """A worker without a free slot leaves the message to one that has room."""
    sender, busy, idle = place.open(), place.open("mine"), place.open("mine")
    sender.announce([Wake("task_1")])
    busy.back(received(busy))
    wakeup = received(idle, 30)
    assert wakeup.task_id == "task_1"
    idle.ack(wakeup, more=False)


def test_a_full_worker_holds_no_further_message(place: Place) -> None:
    """After `more=False` the next messages go to others, not into the buffer of a worker that cannot use them."""
    sender, full, idle = place.open(), place.open("mine"), place.open("mine")
    sender.announce([Wake("task_1"), Wake("task_2")])
    first = received(full)
    full.ack(first, more=False)
    second = received(idle)
    assert {first.task_id, second.task_id} == {"task_1", "task_2"}
    idle.ack(second, more=False)


def test_a_queue_with_plenty_gets_no_more(broker_of: Callable[[str], Broker]) -> None:
    """Announcing a hundred thousand tasks leaves about a thousand messages: any one of them makes a worker look at the rows."""
    settings = settings_of(broker_of("redis"))
    sender, listener = open_queue(settings), open_queue(settings, agents=["mine"])
    for _ in range(4):
        sender.announce([Wake(f"task_{n}") for n in range(1000)])
    count = 0
    while (wakeup := listener.next(0.5)) is not None:
        listener.ack(wakeup, more=True)
        count += 1
    assert 1000 <= count <= 2000
    sender.close()
    listener.close()


def test_a_broker_that_is_away_is_an_error_of_ours_and_then_comes_back() -> None:
    """Frozen, gone or lost connections raise QueueUnavailable within a bound; the next use connects anew."""
    with running(Redis) as broker:
        settings = settings_of(broker)
        sender, listener = open_queue(settings), open_queue(settings, agents=["mine"])
        sender.announce([Wake("task_1")])
        listener.ack(received(listener), more=True)
        broker.stop()
        for queue in (sender, listener):
            begun = time.monotonic()
            with pytest.raises(QueueUnavailable):
                queue.announce([Wake("task_2")])
            assert time.monotonic() - begun < 15
        broker.start()
        sender.announce([Wake("task_3")])
        assert received(listener).task_id == "task_3"
        broker.freeze()
        with pytest.raises(QueueUnavailable):
            sender.announce([Wake("task_4")])
        broker.thaw()
        sender.close()
        listener.close()


def test_messages_can_be_routed_by_tenant_and_priority(broker_of: Callable[[str], Broker]) -> None:
    """A worker of one tenant hears only that tenant, urgent tasks first."""
    settings = settings_of(broker_of("redis"), route=["agent", "tenant", "priority"])
    sender = open_queue(settings)
    acme, other = (open_queue(settings, agents=["mine"], tenants=[name]) for name in ("acme", "other"))
    sender.announce([Wake("task_1", tenant="acme"), Wake("task_2", tenant="other", priority=5)])
    assert received(acme).task_id == "task_1"
    assert received(other).task_id == "task_2"
    for queue in (sender, acme, other):
        queue.close()


@pytest.mark.parametrize(
    ("given", "field"),
    [({"url": "kafka://here"}, "queue.url"), ({"url": "memory://", "route": ["tenant"]}, "queue.route")],
)
def test_a_queue_that_cannot_be_is_refused_by_its_key(given: dict[str, object], field: str) -> None:
    """An unknown scheme, or routing by tenant without naming tenants, names the key and the remedy."""
    with pytest.raises(ConfigurationError) as caught:
        open_queue(settings_of(None, **given), agents=["mine"])
    assert caught.value.field == field
    assert caught.value.remedy
