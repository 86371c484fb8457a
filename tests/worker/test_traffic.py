"""What is read from the model calls of agents that say nothing, and what follows for those that go round in circles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from site_of_workers import Site, site, until
from tether.testing import Request, ScriptedModels, call, reply

_AGENTS = Path(__file__).parent / "agents"
_MORE = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 1000
[stuck]
same_call = 3
"""
_PROGRAM = """\
[agents.{way}]
kind = "command"
command = ["{python}", "{agents}/looking.py", "{{goal}}", "{way}"]
code_dir = "{agents}"
readable = {readable}
"""
_WAYS = ("looks", "hangs", "fails", "circles", "breaks")


def _script(request: Request):
    if request.turn < int(request.asked.split()[-1]):
        return reply("I look again.", tools=[call("look")])
    return reply("that is all")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker with programs that know nothing of it, and an agent that uses Link."""
    readable = [str(Path(sys.prefix).resolve())]
    with ScriptedModels(_script) as models:
        more = _MORE.format(upstream=models.base_url)
        more += "".join(_PROGRAM.format(way=w, python=sys.executable, agents=_AGENTS, readable=readable) for w in _WAYS)
        agents = {"circling": "circling:circling"}
        with site(tmp_path_factory.mktemp("site"), slots=4, agents=agents, more=more) as made:
            made.add_worker()
            yield made


def test_steps_tools_and_window_of_a_program_are_inferred(place: Site) -> None:
    """Each request with a longer history is a step, each result a tool call; all of it is labelled."""
    handle = place.submit("looks", "look 3")
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", '{"looks": 3, "said": "that is all"}'), place.log()
    assert (task.usage.steps, task.usage.tool_calls, task.usage.llm_calls) == (4, 3, 4)
    assert task.progress["inferred"] is True
    assert (task.progress["step"], task.progress["thought"]) == (4, "I look again.")
    assert 0 < task.progress["context_used"] < 1
    for kind, count in (("step_started", 4), ("step_ended", 4), ("tool_started", 3), ("tool_ended", 3)):
        found = place.events(handle, kind)
        assert len(found) == count, kind
        assert all(data["inferred"] is True for data in found), kind
    ended = place.events(handle, "tool_ended")
    assert [(data["name"], data["outcome"], data["result"]) for data in ended] == [("look", "ok", f"seen {n}") for n in (1, 2, 3)]


def test_a_failed_tool_of_a_program_is_seen(place: Site) -> None:
    """What the program tells its model of a failure is the tool call's error."""
    handle = place.submit("fails", "look 2")
    assert place.settled(handle).state == "succeeded"
    ended = place.events(handle, "tool_ended")
    assert [(data["outcome"], data["error"]) for data in ended] == [("error", "Error: fog"), ("ok", None)]


def test_the_step_limit_holds_for_inferred_steps(place: Site) -> None:
    """A program that hangs in a tool of its own is ended at step_s; after the model's last word no step runs."""
    handle = place.submit("hangs", "look 3", timeouts={"step_s": 1.0}, max_attempts=1)
    task = place.settled(handle)
    assert (task.state, task.reason) == ("failed", "step_timeout")
    assert place.events(handle, "timeout_fired")[0]["what"].startswith("step 2")


def test_the_limit_of_steps_holds_for_inferred_steps(place: Site) -> None:
    """max_steps pauses a program that takes more of them."""
    task = place.settled(place.submit("looks", "look 9", budget={"max_steps": 3}))
    assert (task.state, task.reason, task.usage.steps) == ("paused", "budget", 3)


def test_a_program_that_goes_round_in_circles_is_paused(place: Site) -> None:
    """It cannot be told, so it is suspected once, and at the second circle paused with the pattern in the approval."""
    handle = place.submit("circles", "look 50")
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "stuck"), task
    assert task.approval is not None
    assert (task.approval.kind, task.approval.details["pattern"]) == ("stuck", "same_call")
    assert task.approval.details["calls"] == ["look {}"]
    suspected = place.events(handle, "stuck_suspected")
    assert [(data["count"], data["nudged"]) for data in suspected] == [(3, False), (3, False)]
    handle.cancel(by="anna")


def test_a_program_whose_results_change_is_left_alone(place: Site) -> None:
    """The same call thirty times is honest work while what comes back changes."""
    handle = place.submit("looks", "look 30")
    assert place.settled(handle).state == "succeeded"
    assert place.events(handle, "stuck_suspected") == []


def test_an_agent_on_link_is_nudged_once_and_then_paused(place: Site) -> None:
    """Its next step brings the nudge; when it goes on like that a human is asked."""
    handle = place.submit("circling", input={"steps": 40, "command": "echo same"})
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "stuck"), task
    assert len(task.partial) == 1
    assert "round in circles" in task.partial[0]
    assert [data["nudged"] for data in place.events(handle, "stuck_suspected")] == [True, False]
    assert all("inferred" not in data for data in place.events(handle, "step_started"))
    until(lambda: not place.survivors(), 5, "the end of the attempt")
    handle.cancel(by="anna")


def test_an_agent_on_link_that_polls_is_left_alone(place: Site) -> None:
    """The same command with another answer each time is no circle."""
    handle = place.submit("circling", input={"steps": 12, "command": "cat /proc/sys/kernel/random/uuid"})
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", {"told": []})


def test_a_circle_over_several_attempts_is_a_circle(place: Site) -> None:
    """Two calls an attempt are too few for any one of them; what earlier attempts did counts on, nudge included."""
    told = {"steps": 40, "command": "echo same", "breaks_after": 2}
    task = place.settled(place.submit("circling", input=told, max_attempts=9))
    assert (task.state, task.reason, len(task.attempts)) == ("paused", "stuck", 3), task
    assert len(task.partial) == 1
    handle = place.client.handle(task.id)
    handle.approve(by="anna")
    task = place.settled(handle)
    assert (task.state, task.reason, len(task.attempts)) == ("paused", "stuck", 6), "a human gave it as much room again"
    handle.cancel(by="anna")


def test_polling_over_several_attempts_is_left_alone(place: Site) -> None:
    """However many attempts it takes, as long as the answers differ."""
    told = {"steps": 8, "command": "cat /proc/sys/kernel/random/uuid", "breaks_after": 2}
    handle = place.submit("circling", input=told, max_attempts=9)
    task = place.settled(handle)
    assert (task.state, task.result, len(task.attempts)) == ("succeeded", {"told": []}, 5), task
    assert place.events(handle, "stuck_suspected") == []


def test_a_program_that_starts_over_is_no_circle(place: Site) -> None:
    """Each attempt looks twice and sees the same; repeating that from the start is what a new attempt is for."""
    handle = place.submit("breaks", "look 3", max_attempts=3)
    task = place.settled(handle)
    assert (task.state, task.reason, len(task.attempts)) == ("failed", "agent_error", 3), task
    assert len(place.events(handle, "tool_ended")) == 6
    assert place.events(handle, "stuck_suspected") == []
