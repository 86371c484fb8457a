"""Link and AsyncLink against a supervisor on a real socket."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from agent.agent_supervisor import Supervised, Supervisor
from tether.agent.async_link import AsyncLink
from tether.agent.link import Link, open_link
from tether.errors import AttemptEnding, BudgetExceeded, LinkError, ToolFailed, ValidationError
from tether.packets import pair

Conversation = Callable[[Supervised], Link]


@pytest.fixture
def linked() -> Iterator[Callable[..., Link]]:
    """Makes a Link to a supervisor of the given task; everything is closed afterwards."""
    ends: list[Any] = []

    def link(task: Supervised, kind: Any = Link, **how: Any) -> Any:
        ours, theirs = pair()
        supervisor = Supervisor(task, ours, **how)
        ends.append((ours, theirs, supervisor))
        return kind(theirs, open_link(theirs))

    yield link
    for ours, theirs, supervisor in ends:
        theirs.close()
        supervisor.join()
        ours.close()


def echo(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """A tool that returns its arguments; `fail` fails."""
    if name == "fail":
        return {"outcome": "timeout", "result": None, "error": "took longer than 30 s"}
    return {"outcome": "ok", "result": args, "error": None}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on a loop that leaves nothing behind."""
    return asyncio.run(work)


def test_task_and_earlier_state_are_there_from_the_start(linked: Callable[..., Link]) -> None:
    """The agent finds its task, its last state, the answers and what is left of its budget without asking."""
    task = Supervised(goal="find", input={"a": 1}, state={"n": 3}, number=7, answers={"k": "yes"}, steps=4)
    link = linked(task)
    assert (link.task.goal, link.task.input, link.state, link.steps) == ("find", {"a": 1}, {"n": 3}, 4)
    assert link.ask("really?", key="k") == "yes"
    assert link.budget_left == {"max_llm_calls": 50}
    assert not task.ops("ask"), "a stored answer is not asked for again"


def test_every_request_is_answered(linked: Callable[..., Link]) -> None:
    """Steps, tools, partial results, charges, thoughts and logs reach the supervisor and come back with their answers."""
    task = Supervised()
    link = linked(task, tool=echo)
    assert [link.step(), link.step()] == [1, 2]
    assert link.tool("echo", name="x", self_=1) == {"name": "x", "self_": 1}
    link.partial(["half"])
    link.thought("hm", ["a", "b"], "maybe not")
    link.log("a line", level="warning")
    link.charge(0.25, "an API")
    assert link.budget_left == {"max_usd": 4.75}
    assert link.budget() == {"max_llm_calls": 7}
    link.finish({"answer": 42}, "done")
    assert (task.partial, task.result, task.done) == (["half"], {"answer": 42}, True)
    assert len(task.ops("step_ended")) == 1, "the second step ended the first"
    assert task.ops("thought")[0]["plan"] == ["a", "b"]
    assert task.ops("log")[0]["level"] == "warning"


def test_a_failed_tool_raises_with_its_outcome(linked: Callable[..., Link]) -> None:
    """A tool that was stopped is an error the agent can read, not a result."""
    link = linked(Supervised(), tool=echo)
    with pytest.raises(ToolFailed, match="30 s") as caught:
        link.tool("fail")
    assert caught.value.outcome == "timeout"


def test_only_what_is_new_is_sent_with_a_checkpoint(linked: Callable[..., Link]) -> None:
    """A growing list and a changed key travel as a delta, and the supervisor composes the same state."""
    task = Supervised()
    link = linked(task)
    state: dict[str, Any] = {"messages": ["one"], "n": 1, "same": "x" * 1000}
    link.checkpoint(state)
    state["messages"].append("two")
    state["n"] = 2
    link.checkpoint(state)
    sent = task.ops("checkpoint")[1]
    assert sent["base"] == 1
    assert sent["state"] == {"append": {"messages": ["two"]}, "set": {"n": 2}}
    assert task.state == state


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["messages"].pop(),
        lambda s: s["messages"].__setitem__(0, "other"),
        lambda s: s.pop("n"),
        lambda s: s.__setitem__("messages", {"now": "a map"}),
        lambda s: s.__setitem__("more", [1]),
    ],
)
def test_any_change_of_the_state_arrives_whole(linked: Callable[..., Link], change: Callable[[Any], Any]) -> None:
    """Whatever the agent does to its state, the next attempt gets exactly that."""
    task = Supervised()
    link = linked(task)
    state: dict[str, Any] = {"messages": ["one", "two"], "n": 1}
    link.checkpoint(state)
    change(state)
    link.checkpoint(state)
    assert task.state == state


def test_a_resumed_agent_extends_the_earlier_checkpoint(linked: Callable[..., Link]) -> None:
    """The first checkpoint of a new attempt is a delta on the last one of the attempt before."""
    task = Supervised(state={"messages": ["one"]}, number=3)
    link = linked(task)
    link.checkpoint({"messages": ["one", "two"]})
    assert task.ops("checkpoint")[0]["base"] == 3
    assert task.state == {"messages": ["one", "two"]}


@pytest.mark.parametrize("state", [{"a": {1, 2}}, float("nan"), {"deep": object()}])
def test_a_state_that_is_no_json_is_refused_and_the_link_lives_on(linked: Callable[..., Link], state: Any) -> None:
    """A state that cannot be stored is the agent's error with a clear word, and the next request works."""
    link = linked(Supervised())
    with pytest.raises(LinkError, match="JSON"):
        link.checkpoint(state)
    assert link.step() == 1


def test_a_large_state_goes_through_and_a_too_large_one_is_refused(linked: Callable[..., Link]) -> None:
    """Five megabytes are kept, seventeen are refused with the remedy, in both directions of the socket."""
    task = Supervised()
    link = linked(task, tool=echo)
    link.checkpoint({"text": "x" * 5_000_000})
    assert len(task.state["text"]) == 5_000_000
    with pytest.raises(LinkError, match="file of the workspace"):
        link.checkpoint({"text": "x" * 17_000_000})
    assert link.step() == 1
    assert len(link.tool("echo", text="y" * 300_000)["text"]) == 300_000


def test_ending_and_budget_are_errors_of_their_own(linked: Callable[..., Link]) -> None:
    """An agent that must stop is told why by the type of the error."""
    task = Supervised(refuse={"step_started": {"ok": False, "reason": "ending", "message": "paused"}})
    link = linked(task)
    with pytest.raises(AttemptEnding, match="paused"):
        link.step()
    task.refuse = {"tool": {"ok": False, "reason": "budget", "message": "m", "limit": "max_tool_calls", "used": 3, "allowed": 3}}
    with pytest.raises(BudgetExceeded, match="max_tool_calls"):
        link.tool("echo")


@pytest.mark.parametrize("usd", [-1, float("inf"), "much"])
def test_a_bad_charge_names_the_field(linked: Callable[..., Link], usd: Any) -> None:
    """Money is checked before it is sent."""
    with pytest.raises(ValidationError, match="charge"):
        linked(Supervised()).charge(usd)


def test_a_supervisor_that_is_gone_ends_the_attempt() -> None:
    """Every request after the supervisor's death says that the attempt is over, also one that waits for its answer."""
    ours, theirs = pair()
    supervisor = Supervisor(Supervised(), ours, tool=lambda name, args: ours.shutdown(2) or echo(name, args))
    with ours, theirs:
        link = Link(theirs, open_link(theirs))
        with pytest.raises(AttemptEnding):
            link.tool("echo")
        with pytest.raises(AttemptEnding):
            link.step()
        supervisor.join()


def test_threads_share_a_link(linked: Callable[..., Link]) -> None:
    """A slow tool of one thread does not hold up the requests of the others, and each gets its own answer."""
    quick_done = threading.Event()

    def tool(name: str, args: dict[str, Any]) -> dict[str, Any]:
        assert args["n"] or quick_done.wait(10), "the quick calls came back while the slow one was running"
        return echo(name, args)

    link = linked(Supervised(), tool=tool)
    results: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: link.tool("echo", n=n)})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(10)
    assert set(results) == set(range(1, 8))
    quick_done.set()
    threads[0].join(10)
    assert {n: r["n"] for n, r in results.items()} == {n: n for n in range(8)}


def test_async_calls_are_outstanding_at_the_same_time(linked: Callable[..., Link]) -> None:
    """Several awaited tools run at once, and the loop stays free while they do."""
    together = threading.Barrier(5, timeout=10)

    def tool(name: str, args: dict[str, Any]) -> dict[str, Any]:
        together.wait()
        return echo(name, args)

    link: Any = linked(Supervised(), AsyncLink, tool=tool)

    async def work() -> list[Any]:
        results = await asyncio.gather(*(link.tool("echo", n=n) for n in range(5)))
        link.close()
        return results

    assert [r["n"] for r in run(work())] == [0, 1, 2, 3, 4]


def test_async_link_says_the_same_as_link(linked: Callable[..., Link]) -> None:
    """The awaitable twin does everything the blocking one does."""
    task = Supervised(answers={"k": "blue"})
    link: Any = linked(task, AsyncLink, tool=echo)

    async def work() -> None:
        assert await link.step() == 1
        state: dict[str, Any] = {"messages": ["x" * 100_000]}
        await link.checkpoint(state)
        await link.extend(append={"messages": ["two"]}, changed={"n": 1})
        state = {"messages": ["x" * 100_000, "two", "three"], "n": 1}
        await link.checkpoint(state)
        assert task.state == state
        await link.partial("half")
        assert await link.ask("colour?", key="k") == "blue"
        await link.charge(1)
        await link.thought("hm")
        await link.log("line")
        with pytest.raises(ToolFailed):
            await link.tool("fail")
        with pytest.raises(LinkError, match="JSON"):
            await link.partial(object())
        await link.step_ended()
        await link.finish("done", "sum")
        link.close()

    run(work())
    assert (task.result, task.partial) == ("done", "half")


def test_an_async_link_that_lost_its_supervisor_wakes_everyone() -> None:
    """No task waits for ever for a supervisor that died."""
    ours, theirs = pair()
    supervisor = Supervisor(Supervised(), ours, tool=lambda name, args: ours.shutdown(2) or echo(name, args))

    async def work() -> None:
        link = AsyncLink(theirs, hello)
        failed = await asyncio.gather(link.tool("a"), link.tool("b"), return_exceptions=True)
        assert all(isinstance(error, AttemptEnding) for error in failed)
        with pytest.raises(AttemptEnding):
            await link.step()
        await link.wait_for_end(5)

    with ours, theirs:
        hello = open_link(theirs)
        run(work())
        supervisor.join()


def test_a_full_socket_delays_requests_and_loses_none() -> None:
    """An agent that says more than the supervisor reads keeps its loop running, and everything arrives in order."""
    ours, theirs = pair()
    reading = threading.Event()

    class Slow(Supervisor):
        def _serve(self) -> None:
            reading.wait(10)
            super()._serve()

    task = Supervised()
    supervisor = Slow(task, ours)

    async def work() -> None:
        link = AsyncLink(theirs, hello)
        for n in range(2000):
            await link.log(f"line {n} " + "x" * 500)
        reading.set()
        assert await asyncio.wait_for(link.step(), 10) == 1
        link.close()

    with ours:
        with theirs:
            threading.Timer(0.05, reading.set).start()
            hello = open_link(theirs)
            reading.clear()
            run(work())
        supervisor.join()
    assert [packet["text"].split()[1] for packet in task.ops("log")] == [str(n) for n in range(2000)]


def test_a_finished_call_of_an_earlier_attempt_is_not_repeated(linked: Callable[..., Link]) -> None:
    """The outcome comes from the journal; a call whose outcome is unknown runs again only if that is allowed."""
    unknown = {"outcome": "outcome_unknown", "result": None, "error": None}
    task = Supervised(tools={"a": {"outcome": "ok", "result": 1, "error": None}, "b": unknown, "c": unknown})
    link = linked(task, tool=echo)
    assert link.call("echo", {"n": 9}, call_id="a").result == 1
    assert link.call("echo", {"n": 9}, call_id="b").outcome == "outcome_unknown"
    assert not task.ran
    assert link.call("echo", {"n": 9}, call_id="c", rerun_unknown=True).result == {"n": 9}
    assert len(task.ran) == 1


def test_link_needs_nothing_but_the_standard_library() -> None:
    """Link, adapters and the tool table import in an interpreter that has none of our dependencies."""
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import tether.agent.adapters, tether.agent.adapters.command, tether.agent.async_link, tether.agent.tools;"
        "bad = {m.partition('.')[0] for m in sys.modules} & {'pydantic', 'pydantic_ai', 'httpx2', 'sqlalchemy', 'aiohttp'};"
        "sys.exit(str(bad) if bad else 0)"
    )
    source = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["tether"].__file__ or "")))
    done = subprocess.run([sys.executable, "-S", "-E", "-c", code, source], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
