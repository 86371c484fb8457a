"""kill -9 of anything at random moments: every task finishes from its last checkpoint, nothing finished is done twice."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from servers import make_database
from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.task import TaskDocument
from tether.testing.script import Reply, Request, call, fault, reply
from tether.testing.scripted import ScriptedModels

_SEED = int(os.environ.get("TETHER_CHAOS_SEED", "20261122"))
_STEPS = 6
_TASKS = 6
_MARK = re.compile(r"CHAOS-(\w+)-")
_MODEL = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
"""


def _script(request: Request) -> Reply | None:
    """Six lines by a tool, each a little slow, then the end."""
    if request.turn < _STEPS:
        command = f"echo line-{request.turn} >> lines.txt; sleep 0.05"
        return reply(
            tools=[call("run_shell", thought=f"line {request.turn}", command=command)], fault=fault("delay", seconds=0.03)
        )
    return reply(tools=[call("finish", thought="done", result="all lines", summary="all lines written")])


@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 70), ("postgres", 50)])
def test_killing_anything_loses_at_most_the_call_in_flight(
    tmp_path: Path, database: str, rounds: int, request: pytest.FixtureRequest
) -> None:
    """120 kills of agent, tool, init, zygote, gateway and supervisor: all tasks succeed, journal and provider agree."""
    store = None
    if database == "postgres":
        store = make_database(request.getfixturevalue("postgres_url"), "tether_chaos")
    dice = random.Random(_SEED)
    with (
        ScriptedModels(_script) as models,
        site(
            tmp_path, store, slots=4, lease_s=2.0, agents={}, builtin=True, more=_MODEL.format(upstream=models.base_url)
        ) as place,
    ):
        place.add_worker()
        place.add_worker()
        chaos = _Chaos(place, dice)
        number = 0
        while sum(chaos.struck.values()) < rounds:
            chaos.keep_busy(number := number + 1)
            time.sleep(dice.uniform(0.02, 0.25))
            chaos.strike()
        for handle in chaos.tasks.values():
            task = _finished(handle)
            assert task.state == "succeeded", f"{task.id} {task.state} {task.reason} {task.message}\n{place.log()[-4000:]}"
        answered = Counter(_mark_of(str(entry.body)) for entry in models.ledger)
        for mark, handle in chaos.tasks.items():
            _check_journal(place, handle, answered[mark])
        assert set(chaos.struck) == {"agent", "init", "zygote", "gateway", "supervisor"}, chaos.struck
        until(lambda: not place.survivors(), 10, "the end of all attempts")


def _finished(handle: TaskHandle) -> TaskDocument:
    """The task once it is final; one that met three kills at one checkpoint is in quarantine, and a human lets it go on."""
    task = handle.wait(timeout=90)
    while task.state == "paused":
        assert task.reason == "escalated", task.message
        handle.approve(by="anna")
        task = handle.wait(timeout=90)
    return task


def _mark_of(text: str) -> str:
    found = _MARK.search(text)
    return found.group(1) if found else ""


def _check_journal(place: Site, handle: TaskHandle, asked: int) -> None:
    """What the journal of one task must look like, whatever was killed when."""
    events = list(handle.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    started = [e.data for e in events if e.type == "call_started"]
    ended = [e.data for e in events if e.type == "call_ended"]
    lost = sum(e.type in ("attempt_lost",) or e.data.get("reason") == "worker_lost" for e in events)
    # Reserved before it is sent, so the provider can have seen fewer, and only for calls in flight at a kill.
    assert asked <= len(started) <= asked + lost + 5, f"{handle.id}: provider {asked}, journal {len(started)}"
    assert {d["call_id"] for d in ended} == {d["call_id"] for d in started}, f"{handle.id}: a hold was left behind"
    finished: set[str] = set()
    for event in events:
        if event.type == "tool_started":
            assert event.data["call_id"] not in finished, f"{handle.id}: a finished tool call was repeated"
        if event.type == "tool_ended" and event.data["outcome"] == "ok":
            finished.add(event.data["call_id"])
    counters = place.client.get(handle.id).usage
    # What was reserved but never sent (its attempt was revoked in between) is given back.
    assert asked <= counters.llm_calls <= len(started)
    assert counters.held_nanousd == 0


class _Chaos:
    """Keeps a few tasks going and kills something at random."""

    def __init__(self, place: Site, dice: random.Random) -> None:
        self.place = place
        self.dice = dice
        self.tasks: dict[str, TaskHandle] = {}
        self.struck: Counter[str] = Counter()

    def keep_busy(self, number: int) -> None:
        """At least a handful of tasks that are not final."""
        open_ = sum(handle.document().state in ("queued", "running") for handle in list(self.tasks.values())[-_TASKS:])
        for extra in range(_TASKS - open_):
            mark = f"{number}x{extra}"
            self.tasks[mark] = self.place.submit("autogpt", f"CHAOS-{mark}- write the lines", max_attempts=50)

    def strike(self) -> None:
        """Kill one process of a random kind, if there is one now; a killed supervisor is replaced."""
        worker = self.dice.choice([worker for worker in self.place.workers if worker.poll() is None])
        kind = self.dice.choices(["agent", "init", "zygote", "gateway", "supervisor"], weights=[6, 6, 0.6, 3, 0.8])[0]
        victims = self._victims(worker, kind)
        if not victims:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.dice.choice(victims), signal.SIGKILL)
            self.struck[kind] += 1
        if kind == "supervisor":
            worker.wait(5)
            self.place.add_worker()

    def _victims(self, worker: subprocess.Popen[bytes], kind: str) -> list[int]:
        if kind == "supervisor":
            return [worker.pid]
        if kind == "gateway":
            return self.place.gateway(worker)
        if kind == "zygote":
            return self.place.zygotes(worker)
        inits = self.place.inits(worker)
        return inits if kind == "init" else [child for init in inits for child in self.place.children(init)]
