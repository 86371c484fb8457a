"""Over budget, an agent that cannot checkpoint waits with its call held, and loses nothing: real workers, official clients."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.testing import Request, ScriptedModels, reply

_AGENTS = Path(__file__).parent / "agents"
_MORE = """\
max_parked = 20
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.foreign]
kind = "command"
command = ["{python}", "{agents}/foreign.py", "{{goal}}", "4"]
code_dir = "{agents}"
readable = {readable}
park_s = 60
[agents.hasty]
kind = "command"
command = ["{python}", "{agents}/foreign.py", "{{goal}}", "4"]
code_dir = "{agents}"
readable = {readable}
park_s = 0.5
"""


def _script(request: Request):
    return reply(f"answer {request.turn}")


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedModels]:
    """The provider, whose ledger is the truth about what was called."""
    with ScriptedModels(_script) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, models: ScriptedModels) -> Iterator[Site]:
    """One worker with one slot, and agents that are programs."""
    readable = [str(Path(sys.prefix).resolve())]
    more = _MORE.format(upstream=models.base_url, python=sys.executable, agents=_AGENTS, readable=readable)
    with site(tmp_path, slots=1, agents={}, more=more) as made:
        made.add_worker()
        yield made


def calls_of(models: ScriptedModels, goal: str) -> int:
    """How many calls with this goal reached the provider."""
    return sum(goal in str(entry.body["messages"][0]) for entry in models.ledger)


def parked(handle: TaskHandle) -> None:
    """Wait until the task waits for a decision on its budget."""
    task = handle.wait(timeout=60)
    assert (task.state, task.reason) == ("paused", "budget"), task


def test_a_foreign_command_goes_on_with_one_attempt_after_an_approval(place: Site, models: ScriptedModels) -> None:
    """Its call is held, the task paused, the slot free for others; approved, it goes on as if nothing had happened."""
    handle = place.submit("foreign", "PARK-1", budget={"max_llm_calls": 2})
    parked(handle)
    assert calls_of(models, "PARK-1") == 2
    other = place.settled(place.submit("foreign", "PARK-2"))
    assert other.state == "succeeded", "the slot of a parked attempt is free"
    handle.approve(add={"max_llm_calls": 5}, by="anna")
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", "answer 3"), place.log()
    assert (len(task.attempts), calls_of(models, "PARK-1"), task.usage.llm_calls) == (1, 4, 4)
    assert [e["outcome"] for e in place.events(handle, "call_unparked")] == ["released"]
    assert len(place.events(handle, "call_parked")) == 1


def test_a_rejection_ends_it_with_what_it_printed(place: Site, models: ScriptedModels) -> None:
    """The held call is refused, the attempt ends, and the task has failed because a human said so."""
    handle = place.submit("foreign", "PARK-3", budget={"max_llm_calls": 1})
    parked(handle)
    approval = handle.document().approval
    assert approval is not None
    assert approval.details["spent_on"]["models"] == {"scripted": {"calls": 1, "usd": 0.0}}
    handle.reject(comment="too dear", by="anna")
    task = place.settled(handle)
    assert (task.state, task.reason, task.message[:8]) == ("failed", "rejected", "too dear")
    assert (len(task.attempts), calls_of(models, "PARK-3"), task.partial) == (1, 1, "said answer 0")
    until(lambda: not place.survivors(), 10, "the end of all attempts")


def test_after_park_s_the_processes_are_gone_and_the_question_stays(place: Site) -> None:
    """Nobody decides in time: state is dumped, the tree is killed, and the task still waits for the decision."""
    handle = place.submit("hasty", "PARK-4", budget={"max_llm_calls": 1})
    parked(handle)
    until(lambda: handle.document().attempts[0].state == "paused", 20, "the end of the attempt")
    assert place.events(handle, "state_dumped")
    task = handle.document()
    assert (task.state, task.reason, task.approval is not None) == ("paused", "budget", True)
    assert not place.survivors()


def test_a_decision_nobody_takes_ends_a_held_agent_with_what_it_printed(place: Site) -> None:
    """approval_s ends holding too; then the task has failed in plain words, and what it printed is its partial result."""
    handle = place.submit("foreign", "PARK-7", budget={"max_llm_calls": 1}, timeouts={"approval_s": 1.0})
    parked(handle)
    task = handle.wait(until="final", timeout=30)
    assert (task.state, task.reason, task.partial) == ("failed", "expired", "said answer 0"), task
    assert "Nobody decided within 1 s." in task.message
    assert "kept as the partial result" in task.message
    assert place.events(handle, "approval_expired")
    until(lambda: not place.survivors(), 10, "the end of all attempts")


def test_a_drain_ends_parking_and_the_task_stays_paused(place: Site) -> None:
    """A worker that stops does not wait for a human."""
    handle = place.submit("foreign", "PARK-5", budget={"max_llm_calls": 1})
    parked(handle)
    (worker,) = place.workers
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0
    task = handle.document()
    assert (task.state, task.reason, task.attempts[0].state) == ("paused", "budget", "paused")


def test_a_parked_task_can_be_cancelled(place: Site) -> None:
    """At once, with its processes."""
    handle = place.submit("foreign", "PARK-6", budget={"max_llm_calls": 1})
    parked(handle)
    handle.cancel()
    assert handle.wait(until="final", timeout=20).state == "cancelled"
    until(lambda: not place.survivors(), 10, "the end of all attempts")
