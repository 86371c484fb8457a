"""on_budget_exceeded other than pausing: one last answer that was kept back, or the end at once; the partial result is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from site_of_workers import Site, site
from tether.testing import Request, ScriptedModels, call, reply

_MODEL = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
"""


def _script(request: Request):
    tools = [tool["function"]["name"] for tool in request.body.get("tools", ())]
    if tools == ["finish"]:
        return reply(tools=[call("finish", thought="enough", result="what there is", summary="half")])
    return reply(tools=[call("write_file", thought=f"note {request.turn}", path=f"{request.turn}.txt", content="x")])


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedModels]:
    """A model that writes notes until it can only finish."""
    with ScriptedModels(_script) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models: ScriptedModels) -> Iterator[Site]:
    """One worker with the built-in agent, and Python agents."""
    agents = {"walk": "honest:walk", "wraps": "honest:wraps"}
    with site(tmp_path_factory.mktemp("wrap"), agents=agents, builtin=True, more=_MODEL.format(upstream=models.base_url)) as made:
        made.add_worker()
        yield made


def calls_of(models: ScriptedModels, goal: str) -> list[dict[str, Any]]:
    """The bodies of the calls with this goal."""
    return [dict(entry.body) for entry in models.ledger if goal in str(entry.body["messages"])]


def test_the_built_in_agent_wraps_up_with_the_call_that_was_kept_back(place: Site, models: ScriptedModels) -> None:
    """Three of four calls work, the fourth can only finish: what it says is the partial answer."""
    task = place.settled(place.submit("autogpt", "WRAP-1", budget={"max_llm_calls": 4}, on_budget_exceeded="wrap_up"))
    assert (task.state, task.reason, task.partial) == ("failed", "budget", "what there is"), (task, place.log())
    assert (len(calls_of(models, "WRAP-1")), task.usage.llm_calls) == (4, 4)


def test_steps_that_are_used_up_are_wrapped_up_too(place: Site, models: ScriptedModels) -> None:
    """The last call is made outside of any step, and the agent was told in time that steps are running out."""
    handle = place.submit("autogpt", "WRAP-2", budget={"max_steps": 5}, on_budget_exceeded="wrap_up")
    task = place.settled(handle)
    assert (task.state, task.reason, task.partial) == ("failed", "budget", "what there is"), (task, place.log())
    assert [w["limit"] for w in place.events(handle, "budget_warning")] == ["max_steps"]
    assert "80% of max_steps" in str(calls_of(models, "WRAP-2")[-1]["messages"])


def test_terminate_ends_at_once_with_what_there_is(place: Site) -> None:
    """No question, no last words; the partial result saved before is kept."""
    handle = place.submit("walk", input={"steps": 6}, budget={"max_steps": 2}, on_budget_exceeded="terminate")
    task = place.settled(handle)
    assert (task.state, task.reason, task.partial, task.approval) == ("failed", "budget", {"walked": 2}, None)


def test_a_python_agent_may_return_what_it_has(place: Site) -> None:
    """BudgetExceeded reaches it, and what it returns then is its partial answer."""
    handle = place.submit("wraps", input={"steps": 6}, budget={"max_steps": 3}, on_budget_exceeded="wrap_up")
    task = place.settled(handle)
    assert (task.state, task.reason, task.partial) == ("failed", "budget", {"steps": 3, "limit": "max_steps"}), place.log()


def test_the_question_says_on_what_it_was_spent_and_what_more_would_buy(place: Site) -> None:
    """A pause of the built-in agent asks with models, tools, the last thought and a projection."""
    handle = place.submit("autogpt", "WRAP-3", budget={"max_llm_calls": 4})
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "budget"), place.log()
    assert task.approval is not None
    asked = task.approval.details
    assert asked["spent_on"]["models"] == {"scripted": {"calls": 4, "usd": 0.0}}
    assert asked["spent_on"]["tools"] == {"write_file": 4}
    assert (asked["last_thought"], asked["limit"], asked["used"]) == ("note 3", "max_llm_calls", 4)
    assert "50 more model calls" in asked["more"]["text"]
    handle.reject()
    assert place.settled(handle).partial["last_thought"] == "note 3"
