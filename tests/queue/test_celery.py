"""Beside Celery: a real Celery worker wakes a Tether worker, and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import Broker
from queue_places import settings_of
from site_of_workers import site, until
from tether.config import QueueSettings
from tether.store import open_store
from tether.task import Budget, Task, Timeouts


@pytest.fixture
def settings(broker_of: Callable[[str], Broker]) -> QueueSettings:
    """Tether's queues on Redis; Celery uses another database of the same server."""
    return settings_of(broker_of("redis"))


@pytest.fixture
def celery(settings: QueueSettings, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A started Celery worker; the environment that its application needs."""
    env = {
        **os.environ,
        "CELERY_BROKER": settings.url.replace("/0", "/5"),
        "QUEUE": settings.model_dump_json(),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "info"]
    with (tmp_path / "celery.log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log)
    until(lambda: "ready." in (tmp_path / "celery.log").read_text(), 60, "a Celery worker")
    yield env
    worker.terminate()
    worker.wait(20)


def test_a_celery_task_wakes_tether(celery: dict[str, str], settings: QueueSettings, tmp_path: Path) -> None:
    """A task that nobody announced and no worker would look for within a minute runs at once when Celery says so."""
    more = f'[queue]\nurl = "{settings.url}"\nname = "{settings.name}"\npoll_s = 600\n'
    with site(tmp_path, agents={"greet": "honest:greet"}, more=more) as place:
        place.add_worker()
        until(lambda: "listener: the broker answers" in place.log(), what="a listener")
        store = open_store(place.settings.store_url)
        task_id = store.submit(Task(goal="hello", agent="greet"), budget=Budget(), timeouts=Timeouts())
        assert [wake.task_id for wake in store.take_wakes()] == [task_id], "taken from the outbox and never announced"
        sent = "from celery_app import wake; import sys; wake.delay(sys.argv[1], 'greet')"
        subprocess.run([sys.executable, "-c", sent, task_id], env=celery, check=True, timeout=60)
        until(lambda: store.get(task_id).state == "succeeded", 20, "the task's end")
        store.close()
