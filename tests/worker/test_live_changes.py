"""What clients and operators change while agents work counts at once: limits, and holds on calls that lose nothing."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.store import Store, open_store
from tether.store.rows import Hold
from tether.task import TaskDocument
from tether.testing import Request, ScriptedModels, call, fault, reply

_AGENTS = Path(__file__).parent / "agents"
_STEPS = 6
_HOLD_AT = 3
_BITES_S = 2.0  # 1 s is promised; the machine is shared with other tests
_MORE = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.own]
kind = "builtin"
tools = ["write_file"]
[agents.python]
entry = "asking:asking"
code_dir = "{agents}"
[agents.program]
kind = "command"
command = ["{python}", "{agents}/asking.py", "{{goal}}", "{steps}"]
code_dir = "{agents}"
readable = {readable}
[agents.hasty]
kind = "command"
command = ["{python}", "{agents}/asking.py", "{{goal}}", "{steps}"]
code_dir = "{agents}"
readable = {readable}
park_s = 0.5
replay = "allow"
"""


def _script(request: Request):
    """The built-in agent writes a file a step and then finishes, the others count; one call waits at a gate."""
    gated = fault("gate", gate="g", times=1) if request.turn == _HOLD_AT and "BUILTIN" in request.asked else None
    if "BUILTIN" in request.asked:
        if request.turn < _STEPS:
            return reply(tools=[call("write_file", path=f"{request.turn}.txt", content=str(request.turn))], fault=gated)
        return reply(tools=[call("finish", result="all written")])
    at_gate = request.asked.endswith(f" {_HOLD_AT}")
    return reply(f"answer to {request.asked}", fault=fault("gate", gate="g", times=1) if at_gate else None)


@pytest.fixture
def models() -> Iterator[ScriptedModels]:
    """The provider, whose ledger is the truth about what was called."""
    with ScriptedModels(_script) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, models: ScriptedModels) -> Iterator[Site]:
    """One worker with one slot."""
    readable = [str(Path(sys.prefix).resolve())]
    more = _MORE.format(upstream=models.base_url, python=sys.executable, agents=_AGENTS, readable=readable, steps=_STEPS)
    with site(tmp_path, slots=1, agents={}, more=more) as made:
        made.add_worker()
        yield made


@pytest.fixture
def store(place: Site) -> Iterator[Store]:
    """The store, as an operator's tools open it."""
    opened = open_store(place.settings.store_url)
    yield opened
    opened.close()


def _submit(place: Site, agent: str, **more: Any) -> TaskHandle:
    goal = {"own": "BUILTIN"}.get(agent, "count")
    return place.submit(agent, goal, input={"steps": _STEPS}, **more)


def _at_the_gate(models: ScriptedModels) -> None:
    models.wait_for(lambda entries: len(entries) == _HOLD_AT + 1, 60)


def _stopped(models: ScriptedModels, store: Store, handle: TaskHandle, **which: str) -> tuple[Hold, TaskDocument]:
    """Hold calls while one is on its way, and let that one be answered: the task is paused before the next."""
    _at_the_gate(models)
    hold = store.hold(stop="calls", **which)
    time.sleep(_BITES_S)  # from now on nothing leaves
    models.open_gate("g")
    task = handle.wait(timeout=60)
    assert (task.state, task.reason) == ("paused", "operator"), task
    return hold, task


def _bodies(models: ScriptedModels) -> list[str]:
    """What reached the provider, each call by its messages."""
    return [str(entry.body["messages"]) for entry in models.ledger]


def test_a_raised_limit_counts_for_the_next_call(place: Site, models: ScriptedModels) -> None:
    """Raised while the last allowed call is under way, the limit lets the next one pass: no pause, no question."""
    handle = _submit(place, "program", budget={"max_llm_calls": _HOLD_AT + 1})
    _at_the_gate(models)
    handle.update(budget={"max_llm_calls": 100})
    models.open_gate("g")
    task = place.settled(handle)
    assert (task.state, len(models.ledger)) == ("succeeded", _STEPS), place.log()
    assert not place.events(handle, "task_paused")


@pytest.mark.parametrize("agent", ["own", "python", "program"])
def test_a_lowered_limit_refuses_the_next_call(place: Site, models: ScriptedModels, agent: str) -> None:
    """Lowered below what is used, the limit refuses the very next call and pauses the task; approved, nothing is paid twice."""
    handle = _submit(place, agent, budget={"max_llm_calls": 100})
    _at_the_gate(models)
    handle.update(budget={"max_llm_calls": 1})
    models.open_gate("g")
    task = handle.wait(timeout=60)
    assert (task.state, task.reason) == ("paused", "budget"), task
    assert len(models.ledger) == _HOLD_AT + 1
    handle.approve(add={"max_llm_calls": 100})
    task = place.settled(handle)
    assert task.state == "succeeded", (task, place.log())
    assert len(set(_bodies(models))) == len(models.ledger) == task.usage.llm_calls


@pytest.mark.parametrize("agent", ["own", "python", "program"])
def test_a_hold_on_calls_pauses_and_its_release_goes_on(place: Site, models: ScriptedModels, store: Store, agent: str) -> None:
    """No call leaves from a second on; the task is paused, its slot is free; released, it goes on and nothing is paid twice."""
    handle = _submit(place, agent)
    hold, task = _stopped(models, store, handle, agent=agent, note="too many complaints")
    assert "too many complaints" in task.message
    assert len(models.ledger) == _HOLD_AT + 1
    other = "python" if agent != "python" else "program"
    assert place.settled(_submit(place, other)).state == "succeeded", "the slot of what is held is free"
    before = len(models.ledger)
    assert handle.document().state == "paused"
    store.release(hold.id)
    task = handle.wait(until="final", timeout=60)
    assert task.state == "succeeded", (task, place.log())
    mine = [*models.ledger[: _HOLD_AT + 1], *models.ledger[before:]]
    assert len({str(entry.body["messages"]) for entry in mine}) == len(mine) == task.usage.llm_calls
    assert len(task.attempts) == (1 if agent == "program" else 2)


def test_a_held_program_outlives_its_processes(place: Site, models: ScriptedModels, store: Store) -> None:
    """Held longer than park_s its processes end, its task stays paused; released, it starts again and pays for nothing twice."""
    handle = _submit(place, "hasty")
    hold, _ = _stopped(models, store, handle)
    until(lambda: not place.survivors(), 30, "the end of its processes")
    until(lambda: handle.document().attempts[0].state == "paused", 30, "the end of the attempt")
    assert (handle.document().state, handle.document().reason) == ("paused", "operator")
    store.release(hold.id)
    task = handle.wait(until="final", timeout=60)
    assert (task.state, len(task.attempts)) == ("succeeded", 2), (task, place.log())
    assert len(set(_bodies(models))) == len(models.ledger) == task.usage.llm_calls


def test_a_worker_that_dies_does_not_let_held_tasks_go(place: Site, models: ScriptedModels, store: Store) -> None:
    """kill -9 of the worker of a held task: it stays paused, and the release lets it go on with another worker."""
    handle = _submit(place, "hasty")
    hold, _ = _stopped(models, store, handle, agent="hasty")
    (worker,) = place.workers
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    place.add_worker()
    until(lambda: handle.document().attempts[0].state == "failed", 30, "the rescue")
    assert (handle.document().state, handle.document().reason) == ("paused", "operator")
    store.release(hold.id)
    assert handle.wait(until="final", timeout=60).state == "succeeded", place.log()


def test_what_a_client_paused_too_stays_paused(place: Site, models: ScriptedModels, store: Store) -> None:
    """A pause asked for while the calls are held is not undone by the release."""
    handle = _submit(place, "python")
    hold, _ = _stopped(models, store, handle)
    until(lambda: not place.survivors(), 30, "the end of its processes")
    handle.pause()
    store.release(hold.id)
    seen = store.events(handle.id, limit=1000)[-1].seq
    other = place.settled(_submit(place, "program"))  # a worker that claims, and looks at holds, between
    assert other.state == "succeeded"
    assert (handle.document().state, store.events(handle.id, limit=1000)[-1].seq) == ("paused", seen)
    handle.resume()
    assert handle.wait(until="final", timeout=60).state == "succeeded"
