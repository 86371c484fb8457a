"""What a chaos test does to a site while tasks run, and what must hold of every task afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brokers import Broker
from servers import Postgres
from site_of_workers import Site
from tether.client import TaskHandle
from tether.config import QueueSettings
from tether.queue import open_queue
from tether.store.rows import Wake
from tether.task import TaskDocument
from tether.testing import ScriptedModels

__all__ = ["Weather", "book_of", "check_book", "check_calls", "check_journal", "toml_of"]

_TOML = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.counted]
entry = "counted:counted"
code_dir = "{code}"
writable = ["{outside}"]
"""


@dataclass(kw_only=True)
class Weather:
    """Breaks one thing after another; all of it repaired at the end of each blow."""

    site: Site
    postgres: Postgres
    broker: Broker | None
    freeze_s: float
    away_s: float
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    blows: list[str] = field(default_factory=list)

    def kinds(self) -> Sequence[Callable[[], None]]:
        """Every blow there is for this site, in the order they come."""
        of_broker = (self.flush, self.freeze, self.repeat, self.steal, self.outage) if self.broker else ()
        return [self.kill_gateway, self.kill_worker, *of_broker, self.kill_zygote, self.restart_store, self.kill_worker]

    def blow(self, how: Callable[[], None]) -> None:
        """One of them."""
        self.blows.append(how.__name__)
        how()

    def kill_worker(self) -> None:
        """SIGKILL a worker and start another."""
        victim = self._worker()
        victim.kill()
        victim.wait(10)
        self.site.workers.remove(victim)
        self.site.add_worker()

    def kill_gateway(self) -> None:
        """SIGKILL the gateway of a worker."""
        self._kill(self.site.gateway(self._worker()))

    def kill_zygote(self) -> None:
        """SIGKILL a zygote of a worker, with all its attempts."""
        self._kill(self.site.zygotes(self._worker()))

    def restart_store(self) -> None:
        """Break every connection of PostgreSQL."""
        self.postgres.restart()

    def flush(self) -> None:
        """Lose every message."""
        assert self.broker is not None
        self.broker.flush()

    def freeze(self) -> None:
        """The broker hangs with its connections open."""
        assert self.broker is not None
        self.broker.freeze()
        time.sleep(self.freeze_s)
        self.broker.thaw()

    def outage(self) -> None:
        """The broker is away, and comes back empty."""
        assert self.broker is not None
        self.broker.stop()
        time.sleep(self.away_s)
        self.broker.start()

    def repeat(self) -> None:
        """Announce every task that is queued or running again, twice, in any order."""
        found = [task for state in ("queued", "running") for task in self.site.client.tasks(state, limit=200).data]
        wakes = [Wake(task_id=task.id, agent=task.agent, tenant=task.tenant, priority=0) for task in found * 2]
        self.rng.shuffle(wakes)
        with contextlib.closing(open_queue(self.site.settings.queue)) as queue:
            queue.announce(wakes)

    def steal(self) -> None:
        """Take messages and do nothing about them."""
        agents = self.site.settings.agent_names()
        settings = self.site.settings.queue
        if settings.url.startswith("sqs"):
            settings = settings.model_copy(update={"options": {"wait_time_seconds": 1}})  # else each look is a long poll
        with contextlib.closing(open_queue(settings, agents=agents)) as thief:
            for _ in range(10):
                if (message := thief.next(0.2)) is not None:
                    thief.ack(message, more=True)

    def _worker(self) -> subprocess.Popen[bytes]:
        return self.rng.choice(self.site.workers)

    def _kill(self, pids: Sequence[int]) -> None:
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(pids), signal.SIGKILL)


def _queue(broker: Broker | None) -> str:
    if broker is None:
        return ""
    given = QueueSettings.model_validate(broker.settings)
    return f'[queue]\nurl = "{given.url}"\nregion = "{given.region}"\nendpoint = "{given.endpoint}"\n'


def book_of(folder: Path) -> Path:
    """A file outside of every workspace that any attempt may append to."""
    outside = folder / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    book = outside / "book.txt"
    book.touch()
    book.chmod(0o666)
    return book


def toml_of(models: ScriptedModels, book: Path, broker: Broker | None) -> str:
    """The model, the agent, the book, the broker."""
    code = Path(__file__).parent / "agents"
    return _TOML.format(upstream=models.base_url, code=code, outside=book.parent) + _queue(broker)


def check_book(book: Path, tasks: Sequence[TaskDocument]) -> Counter[str]:
    """No attempt does anything once a later one has begun; each task ended once. Returns how often each asked again."""
    newest: dict[str, int] = defaultdict(int)
    again: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for line in book.read_text().splitlines():
        task_id, attempt, what = line.split(" ", 2)
        assert int(attempt) >= newest[task_id], f"attempt {attempt} of {task_id} was at work beside {newest[task_id]}: {what}"
        newest[task_id] = int(attempt)
        again[task_id] += what == "again"
        ends[task_id] += what == "end"
    for task in tasks:
        assert ends[task.id] >= 1, f"{task.id} never ended"
        # An attempt may be killed after its last line and before its result is stored; then the next one ends it again.
        assert ends[task.id] <= len(task.attempts)
    return again


def check_calls(models: ScriptedModels, tasks: Sequence[TaskDocument], steps: int, again: Counter[str]) -> None:
    """No model call is paid twice but the one in flight when something was killed, and the journal has them all."""
    asked: Counter[str] = Counter()
    for entry in models.ledger:
        asked[str(entry.body["messages"][-1]["content"]).split()[0]] += 1
    for task in tasks:
        losses = len(task.attempts) - 1
        assert steps <= asked[task.id] <= steps + losses + again[task.id], f"{task.id}: {asked[task.id]} calls"
        assert abs(task.usage.llm_calls - asked[task.id]) <= losses + again[task.id], f"{task.id}: {task.usage}"
        assert task.usage.held_nanousd == 0


def check_journal(handle: TaskHandle, task: TaskDocument) -> None:
    """The journal has no gap, its attempts follow one another, and it ends with the end."""
    events = list(handle.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    started = [event.attempt for event in events if event.type == "attempt_started"]
    assert started == sorted(set(started))
    finals = [event.type for event in events if event.type in ("task_succeeded", "task_failed", "task_cancelled")]
    assert finals == ["task_succeeded"], finals
    assert [attempt.number for attempt in task.attempts] == list(range(1, len(task.attempts) + 1))
    assert all(attempt.ended_at_ms is not None for attempt in task.attempts)
