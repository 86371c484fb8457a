"""The announcer and the listener: what is queued gets announced whatever happened, and messages never cost more than a look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import Broker, Redis, running
from queue_places import settings_of
from site_of_workers import until
from tether.client import Client
from tether.config import QueueSettings, Settings, StoreSettings
from tether.queue import Queue, open_queue
from tether.queue.announcing import Announcer
from tether.queue.listening import Listener
from tether.store import Store, open_store
from tether.task import Budget, Task, Timeouts


class Slots:
    """A worker's side: how many slots are free, and how often the rows were looked at."""

    def __init__(self, free: int) -> None:
        self.free_slots = free
        self.looks = 0
        self.answers = True
        self.looked = threading.Condition()

    def look(self, timeout_s: float) -> bool:  # noqa: ARG002 - the protocol's
        with self.looked:
            self.looks += 1
            self.looked.notify_all()
        return self.answers


@pytest.fixture
def settings(broker_of: Callable[[str], Broker]) -> QueueSettings:
    """Queues of this test's own on Redis."""
    return settings_of(broker_of("redis"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/tether.db")
    yield opened
    opened.close()


@contextmanager
def listening(settings: QueueSettings, slots: Slots) -> Iterator[Listener]:
    """A listener of the agent autogpt that has connected."""
    made = Listener(open_queue(settings, agents=["autogpt"]), slots)
    made.start()
    until(lambda: made.is_well, what="a connection")
    yield made
    made.close()


@contextmanager
def announcing(settings: QueueSettings, store: Store) -> Iterator[Announcer]:
    """A started announcer."""
    made = Announcer(open_queue(settings), store)
    made.start()
    yield made
    made.close()


def submitted(store: Store) -> str:
    """A task that only the store knows of."""
    return store.submit(Task(goal="Count"), budget=Budget(), timeouts=Timeouts())


def test_what_nobody_announced_is_found_by_the_sweep(settings: QueueSettings, store: Store) -> None:
    """A row whose submitter died before announcing it wakes a worker within a few seconds."""
    submitted(store)
    slots = Slots(1)
    with listening(settings, slots), announcing(settings, store):
        until(lambda: slots.looks == 1, what="a look")
        assert store.take_wakes() == []


def test_a_broker_that_comes_back_gets_what_waited(store: Store) -> None:
    """While the broker is away tasks stay in the outbox; when it is back, empty, they are announced."""
    with running(Redis) as broker:
        settings, slots = settings_of(broker), Slots(8)
        with listening(settings, slots) as listener, announcing(settings, store) as announcer:
            broker.stop()
            until(lambda: not listener.is_well, what="the loss to be noticed")
            ids = {submitted(store) for _ in range(5)}
            until(lambda: not announcer.is_well, what="the loss to be noticed")
            broker.start()
            until(lambda: slots.looks >= len(ids), what="looks")
            until(lambda: not store.take_wakes(), what="an empty outbox")


def test_a_full_worker_hears_again_when_a_slot_is_free(settings: QueueSettings, store: Store) -> None:
    """Messages stay with the broker while nobody has room, and arrive once somebody has."""
    full = Slots(0)
    with listening(settings, full) as listener, announcing(settings, store):
        submitted(store)
        with full.looked:
            assert not full.looked.wait(4), "it was announced and given back, not looked at"
        full.free_slots = 1
        listener.freed()
        until(lambda: full.looks == 1, what="a look")


def test_a_message_whose_look_failed_comes_again(settings: QueueSettings, store: Store) -> None:
    """While the store does not answer the message is not acknowledged."""
    slots = Slots(1)
    slots.answers = False
    with listening(settings, slots), announcing(settings, store):
        submitted(store)
        until(lambda: slots.looks >= 2, what="a second look")
        slots.answers = True
        seen = slots.looks
        until(lambda: slots.looks > seen, what="the last look")


def test_submitting_does_not_wait_for_a_broker_that_hangs(tmp_path: Path) -> None:
    """With Redis frozen a hundred submissions take no longer than the store needs, and the tasks are safe."""
    with running(Redis) as broker:
        url = f"sqlite:///{tmp_path}/tether.db"
        open_store(url).close()
        configured = Settings(store=StoreSettings(url=url), queue=settings_of(broker))  # pyright: ignore[reportCallIssue]
        client = Client.of(configured)
        client.submit(Task(goal="Warm up"))
        broker.freeze()
        slowest = 0.0
        for _ in range(20):
            begun = time.monotonic()
            client.submit(Task(goal="Count"))
            slowest = max(slowest, time.monotonic() - begun)
        # Kombu itself would wait five seconds for its answer; see benchmarks/queue.py for the figure.
        assert slowest < 2.5
        broker.thaw()
        client.close()


def test_closing_ends_promptly_whatever_the_broker_does(store: Store) -> None:
    """A worker's end never waits for a frozen broker."""
    with running(Redis) as broker:
        settings = settings_of(broker)
        queue: Queue = open_queue(settings)
        announcer = Announcer(queue, store)
        announcer.start()
        until(lambda: announcer.is_well, what="a connection")
        broker.freeze()
        submitted(store)
        begun = time.monotonic()
        announcer.close()
        assert time.monotonic() - begun < 3
        broker.thaw()
