"""An agent that cannot checkpoint is started again: recorded answers cost nothing, what differs goes live, a human is asked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.testing import Request, ScriptedModels, call, fault, reply

_AGENTS = Path(__file__).parent / "agents"
_MORE = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
context_window = 100000
max_output = 1000
[prices.scripted]
input_usd_per_mtok = 1
output_usd_per_mtok = 2
"""
_LOOKING = """\
[agents.{name}]
kind = "command"
command = ["{python}", "{agents}/looking.py", "{{goal}}", "looks"]
code_dir = "{agents}"
readable = ["{prefix}"]
replay = "{replay}"
"""
_AGENT = """\
[agents.{name}]
kind = "command"
command = ["{python}", "{agents}/foreign.py", "{{goal}}", "4", {flags}]
code_dir = "{agents}"
readable = ["{prefix}"]
park_s = 0.3
replay = "{replay}"
"""


def _script(request: Request):
    if request.body.get("tools"):
        slow = fault("gate", gate="lost", times=1) if "LOST" in request.asked and request.turn == 2 else None
        return reply(tools=[call("look")], fault=slow) if request.turn < 3 else reply("that is all")
    if "SLOW" in request.asked and request.turn == 2:
        return reply("answer 2", fault=fault("gate", gate="slow"))
    return reply(f"answer {request.turn}")


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedModels]:
    """The provider, whose ledger is the truth about what was called."""
    with ScriptedModels(_script) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models: ScriptedModels) -> Iterator[Site]:
    """One worker, and agents that are programs which nobody waits for long."""
    more = _MORE.format(upstream=models.base_url)
    agents = {"plain": ("ask", ""), "streams": ("ask", '"--stream"'), "wanders": ("allow", '"--wander"'), "never": ("off", "")}
    for name, (replay, flags) in agents.items():
        prefix = Path(sys.prefix).resolve()
        more += _AGENT.format(name=name, replay=replay, flags=flags, python=sys.executable, agents=_AGENTS, prefix=prefix)
    for replay in ("ask", "allow", "off"):
        prefix = Path(sys.prefix).resolve()
        more += _LOOKING.format(name=f"look_{replay}", replay=replay, python=sys.executable, agents=_AGENTS, prefix=prefix)
    with site(tmp_path_factory.mktemp("replay"), agents={}, more=more) as made:
        made.add_worker()
        yield made


def calls_of(models: ScriptedModels, goal: str) -> int:
    """How many calls with this goal reached the provider."""
    return sum(goal in str(entry.body["messages"][0]) for entry in models.ledger)


def given_up(place: Site, agent: str, goal: str, calls: int) -> TaskHandle:
    """A task whose parked attempt was killed after `calls` answers."""
    handle = place.submit(agent, goal, budget={"max_llm_calls": calls})
    until(lambda: handle.document().attempts and handle.document().attempts[0].state == "paused", 60, "the end of parking")
    assert handle.document().state == "paused"
    return handle


@pytest.mark.parametrize("agent", ["plain", "streams"])
def test_answers_are_given_again_at_no_cost(place: Site, models: ScriptedModels, agent: str) -> None:
    """Killed after park_s, approved, replayed: it finishes as if nothing had happened, and no call was paid twice."""
    goal = f"REPLAY-{agent}"
    handle = given_up(place, agent, goal, 2)
    spent = handle.document().usage
    approval = handle.document().approval
    assert approval is not None
    assert (approval.details["replay"]["answers"], approval.details["replay"]["attempt"]) == (2, 1)
    handle.approve(add={"max_llm_calls": 10})
    task = place.settled(handle)
    assert (task.state, task.result, len(task.attempts)) == ("succeeded", "answer 3", 2), (task, place.log())
    assert (calls_of(models, goal), task.usage.llm_calls, spent.llm_calls) == (4, 4, 2)
    replayed = place.events(handle, "call_replayed")
    assert [e["of_attempt"] for e in replayed] == [1, 1]
    assert not place.events(handle, "replay_diverged")
    notes = place.settings.workspaces / handle.id / "notes.txt"
    assert notes.read_text().splitlines() == [f"answer {n}" for n in range(4)], "the workspace began as it was submitted"


def test_what_differs_goes_live(place: Site, models: ScriptedModels) -> None:
    """An agent that asks something else the second time is told nothing old; the journal says so once."""
    handle = given_up(place, "wanders", "REPLAY-wanders", 2)
    handle.approve(add={"max_llm_calls": 10})
    task = place.settled(handle)
    assert task.state == "succeeded", place.log()
    assert [e["left"] for e in place.events(handle, "replay_diverged")] == [2]
    assert calls_of(models, "REPLAY-wanders") == 6


def test_an_agent_that_is_never_started_again_fails_for_its_budget(place: Site, models: ScriptedModels) -> None:
    """replay = "off": once its held call is given up there is nothing to wait for; what it printed is kept."""
    handle = place.submit("never", "REPLAY-never", budget={"max_llm_calls": 2})
    task = handle.wait(until="final", timeout=60)
    assert (task.state, task.reason, calls_of(models, "REPLAY-never")) == ("failed", "budget", 2)


def test_after_a_lost_worker_only_the_call_in_flight_is_made_again(place: Site, models: ScriptedModels) -> None:
    """The worker is killed in the middle of a call: the next one starts the agent again with the answers it had."""
    handle = place.submit("plain", "REPLAY-SLOW")
    models.wait_for(lambda ledger: sum("REPLAY-SLOW" in str(e.body["messages"][0]) for e in ledger) >= 3, 60)
    (worker,) = place.workers
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(5)
    place.workers.clear()
    place.add_worker()
    models.open_gate("slow")
    task = place.settled(handle)
    assert (task.state, task.result, len(task.attempts)) == ("succeeded", "answer 3", 2), place.log()
    assert calls_of(models, "REPLAY-SLOW") == 5
    assert len(place.events(handle, "call_replayed")) == 2


def test_after_a_lost_worker_the_agent_says_whether_it_is_asked(place: Site, models: ScriptedModels) -> None:
    """SIGKILL after two tool calls: "ask" lists them and repeats them only once approved, "allow" repeats them, "off" fails."""
    handles = {replay: place.submit(f"look_{replay}", f"LOST {replay}") for replay in ("ask", "allow", "off")}
    for replay in handles:
        until(lambda replay=replay: calls_of(models, f"LOST {replay}") == 3, 60, "the call in flight")
        until(lambda replay=replay: len(place.events(handles[replay], "tool_ended")) == 2, 30, "its tool calls in the journal")
    (worker,) = place.workers
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(5)
    place.workers.clear()
    place.add_worker()
    models.open_gate("lost")
    asks = place.settled(handles["ask"])
    assert (asks.state, asks.reason) == ("paused", "approval"), (asks, place.log())
    assert asks.approval is not None
    assert "2 tool calls were seen (look)" in asks.approval.question
    assert "2 tool calls were seen (look)" in asks.message
    again = asks.approval.details["replay"]
    assert ([each["name"] for each in again["calls"]], again["answers"]) == (["look", "look"], 2)
    off = place.settled(handles["off"])
    assert (off.state, off.reason) == ("failed", "worker_lost")
    assert "never started again" in off.message
    allow = place.settled(handles["allow"])
    assert (allow.state, calls_of(models, "LOST allow")) == ("succeeded", 5), place.log()
    assert len(place.events(handles["allow"], "call_replayed")) == 2
    assert (calls_of(models, "LOST ask"), calls_of(models, "LOST off")) == (3, 3), "nothing was repeated unasked"
    handles["ask"].approve(by="anna")
    asks = place.settled(handles["ask"])
    assert (asks.state, calls_of(models, "LOST ask")) == ("succeeded", 5), place.log()
    assert len(place.events(handles["ask"], "call_replayed")) == 2
