"""Python functions as agents, each attempt a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.agent_supervisor import Supervised, attempt
from agent.nursery import Nursery
from tether.agent.adapters import validate_entry

Conduct = Callable[..., Supervised]

_MODULE = """
import dataclasses, functools, sys, asyncio, threading, time
import pydantic

def plain(task, link):
    return {"goal": task.goal, "doubled": task.input * 2}

async def awaited(task, link):
    await link.step()
    return [await link.tool("list_files"), (await asyncio.gather(asyncio.sleep(0, 1)))[0]]

class Model(pydantic.BaseModel):
    n: int

@dataclasses.dataclass
class Data:
    n: int

def model(task, link): return Model(n=1)
def data(task, link): return Data(n=2)
def nothing(task, link): pass
def not_json(task, link): return {1, 2}
def not_finite(task, link): return float("nan")
def forgot_async(task, link): return awaited(task, link)
def raises(task, link): raise KeyError("lost")
def raises_base(task, link): raise KeyboardInterrupt
def leaves(task, link): sys.exit(3)
def huge(task, link): return "x" * 17_000_000
async def araises(task, link): raise ValueError("x" * 50_000)

class Callable_:
    async def __call__(self, task, link):
        await link.step()
        return "called"

instance = Callable_()
partial = functools.partial(lambda extra, task, link: extra, "bound")

def swallows(task, link):
    try:
        link.step()
    except Exception:
        return "never accepted"

def resumes(task, link):
    n = (link.state or {"n": 0})["n"]
    while n < 5:
        link.step()
        n += 1
        link.checkpoint({"n": n})
    return n

async def leftovers(task, link):
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
    asyncio.create_task(stubborn())
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    threading.Thread(target=time.sleep, args=[3600]).start()
    print("printed before the end", flush=False)
    return "finished"

def asks(task, link):
    return "you said " + link.ask("how many?", key="count")

def one(task): return 1
def generator(task, link): yield 1
class AClass:
    def __init__(self, task, link): pass
number = 5
"""


@pytest.fixture
def conduct(nursery: Nursery, tmp_path: Path) -> Conduct:
    """Carries out one attempt of a function of _MODULE and returns the task as its supervisor knows it."""
    (tmp_path / "agents_under_test.py").write_text(_MODULE)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "notes.txt").write_text("a note")

    def carry_out(function: str, task: Supervised | None = None, **how: Any) -> Supervised:
        task = task or Supervised()
        spec = {"kind": "python", "agent": "mine", "entry": f"agents_under_test:{function}"}
        attempt(nursery, task, {**spec, "workspace": str(workspace), "code_dir": str(tmp_path)}, **how)
        return task

    return carry_out


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("plain", {"goal": "a goal", "doubled": 42}),
        ("awaited", [{"files": [{"path": "notes.txt", "bytes": 6}], "more": False}, 1]),
        ("model", {"n": 1}),
        ("data", {"n": 2}),
        ("nothing", None),
        ("instance", "called"),
        ("partial", "bound"),
    ],
)
def test_what_a_function_returns_is_the_result(conduct: Conduct, function: str, result: Any) -> None:
    """Plain and async functions, callable objects and partials work; JSON, pydantic models and dataclasses are results."""
    task = conduct(function, Supervised(input=21))
    assert task.done, task.failure
    assert task.result == result


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("not_json", "not JSON"),
        ("not_finite", "not JSON"),
        ("forgot_async", "async def"),
        ("raises", "KeyError"),
        ("raises_base", "KeyboardInterrupt"),
        ("leaves", "sys.exit"),
        ("huge", "over"),
        ("araises", "ValueError"),
    ],
)
def test_what_goes_wrong_is_a_failure_in_plain_words(conduct: Conduct, function: str, said: str) -> None:
    """No error of an agent is lost: it is reported with its name, bounded, and the process leaves with 0."""
    task = conduct(function)
    assert not task.done
    assert task.failure is not None
    assert task.failure["reason"] == "agent_error"
    assert said in task.failure["message"]
    assert len(task.failure["message"]) < 3_000
    assert len(task.failure["traceback"]) < 10_000


def test_a_traceback_shows_the_agents_frames(conduct: Conduct) -> None:
    """The journal gets the line of the agent that raised, and none of ours."""
    task = conduct("raises")
    assert task.failure is not None
    assert "agents_under_test.py" in task.failure["traceback"]
    assert "adapters/python.py" not in task.failure["traceback"]


def test_an_ending_attempt_leaves_quietly(conduct: Conduct) -> None:
    """An agent told to stop that returns or raises is no failure."""
    task = Supervised(refuse={"step_started": {"ok": False, "reason": "ending", "message": "drain"}})
    conduct("resumes", task)
    assert (task.done, task.failure) == (False, None)


def test_a_refused_result_is_an_invalid_result(conduct: Conduct) -> None:
    """An agent of one's own gets no second try at a result that does not match the schema."""
    task = Supervised(results_wanted=[{"ok": False, "reason": "invalid_result", "message": "result: 1 is not text"}])
    conduct("nothing", task)
    assert task.failure is not None
    assert (task.failure["reason"], task.done) == ("invalid_result", False)
    assert "not text" in task.failure["message"]


def test_a_function_goes_on_from_its_last_checkpoint(conduct: Conduct) -> None:
    """Killed at any step, the next attempt counts on from what was kept."""
    task = Supervised()
    conduct("resumes", task, kill=lambda packet, _phase: packet["op"] == "step_started" and task.state == {"n": 2})
    assert not task.done
    conduct("resumes", task)
    assert task.result == 5
    assert [packet["state"] for packet in task.ops("checkpoint")][-1] in ({"n": 5}, {"append": {}, "set": {"n": 5}})
    assert len(task.ops("checkpoint")) == 5, "no step was taken twice"


def test_a_question_ends_the_attempt_and_its_answer_is_found_by_the_next(conduct: Conduct) -> None:
    """The human may take days: no process waits for the answer."""
    task = Supervised()
    conduct("asks", task)
    assert task.question is not None
    assert task.question["question"] == "how many?"
    task.answers["count"] = "three"
    conduct("asks", task)
    assert task.result == "you said three"


def test_a_finished_agent_leaves_whatever_it_left_running(conduct: Conduct) -> None:
    """Tasks that ignore cancellation and threads that never return do not keep a finished attempt alive."""
    task = conduct("leftovers")
    assert task.result == "finished"


@pytest.mark.parametrize(
    ("entry", "problem", "remedy"),
    [
        ("nonsense", "not an entry", "package.module:function"),
        ("no_such_module:f", "no module no_such_module", "code_dir"),
        ("agents_under_test:missing", "has no missing", "awaited"),
        ("agents_under_test:one", "cannot be called", "(task, link)"),
        ("agents_under_test:generator", "generator", "return"),
        ("agents_under_test:AClass", "is a class", "function"),
        ("agents_under_test:number", "is a int", "function"),
        ("broken_syntax:f", "line 1", "correct"),
        ("needs_missing:f", "no_such_dependency", "install"),
        ("exits_on_import:f", "SystemExit", "import"),
    ],
)
def test_an_unusable_entry_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, problem: str, remedy: str
) -> None:
    """Whatever is wrong with an entry, the operator reads what and how to mend it, never a traceback."""
    (tmp_path / "agents_under_test.py").write_text(_MODULE)
    (tmp_path / "broken_syntax.py").write_text("def f(:\n")
    (tmp_path / "needs_missing.py").write_text("import no_such_dependency\n")
    (tmp_path / "exits_on_import.py").write_text("raise SystemExit(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = validate_entry(entry)
    assert found is not None
    assert problem in found[0]
    assert remedy in found[1]


def test_an_entry_that_broke_since_is_a_failure_of_the_attempt(conduct: Conduct) -> None:
    """When the code changes under a running worker, the task fails with the words of the check."""
    task = conduct("missing")
    assert task.failure is not None
    assert "agents.mine.entry" in task.failure["message"]
