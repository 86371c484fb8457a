"""Agents that do what they should, for tests of the supervisor."""

# ruff: noqa: ARG001 - an agent takes (task, link) and a tool (workspace, args, options), used or not
from __future__ import annotations

import time
from typing import Any


def greet(task: Any, link: Any) -> dict[str, str]:
    """One step, one result."""
    link.step()
    return {"said": task.goal}


def walk(task: Any, link: Any) -> dict[str, Any]:
    """As many steps as the input says, a checkpoint after each, with the attempt that made it; the first may be slower."""
    state = link.state or {"steps": []}
    pause_s = task.input.get("pause_s", 0.02)
    while len(state["steps"]) < task.input["steps"]:
        link.step()
        time.sleep(task.input.get("first_pause_s", pause_s) if link.attempt == 1 else pause_s)
        state = {"steps": [*state["steps"], [len(state["steps"]), link.attempt]]}
        link.checkpoint(state)
        link.partial({"walked": len(state["steps"])})
    return state


def shell(task: Any, link: Any) -> list[Any]:
    """Appends a line to a file by a tool in each step, and returns the outcomes."""
    state = link.state or {"done": []}
    while len(state["done"]) < task.input["steps"]:
        number = len(state["done"])
        link.step()
        outcome = link.tool("run_shell", call_id=f"line-{number}", command=f"echo {number} >> lines.txt")
        state = {"done": [*state["done"], [number, outcome["exit_code"]]]}
        link.checkpoint(state)
    return state["done"]


def hang_after(task: Any, link: Any) -> dict[str, int]:
    """The first attempt hangs in its second step, after a checkpoint; the next one goes on from there."""
    state = link.state or {"n": 0}
    link.step()
    link.checkpoint({"n": state["n"] + 1})
    if link.attempt == 1:
        link.step()
        time.sleep(1000)
    return {"n": state["n"] + 1, "attempt": link.attempt}


def asks(task: Any, link: Any) -> str:
    """Asks a human, and says what it was told."""
    link.step()
    colour = link.ask("Which colour?", key="colour")
    return f"painted {colour}"


def walks_then_asks(task: Any, link: Any) -> dict[str, Any]:
    """Three steps with a checkpoint after each, then a question."""
    state = link.state or {"steps": []}
    while len(state["steps"]) < 3:
        link.step()
        state = {"steps": [*state["steps"], [len(state["steps"]), link.attempt]]}
        link.checkpoint(state)
    return {**state, "colour": link.ask("Which colour?", key="colour")}


def many_words(task: Any, link: Any) -> str:
    """Writes a lot, some of it no UTF-8."""
    import sys

    for _ in range(task.input["blocks"]):
        sys.stdout.buffer.write(b"\xff\xfe" + b"x" * 65_533 + b"\n")
    sys.stdout.buffer.flush()
    return "done"


def returns(task: Any, link: Any) -> Any:
    """Returns its input."""
    return task.input


def raises(task: Any, link: Any) -> None:
    """Fails after keeping a part."""
    link.step()
    link.partial({"found": 3})
    raise RuntimeError("the archive is closed")


def vanishes(task: Any, link: Any) -> None:
    """Leaves without a word."""
    import os

    os._exit(7)


def tool(workspace: Any, args: dict[str, Any], options: dict[str, Any]) -> str:
    """A tool that takes as long as it is told."""
    time.sleep(args["seconds"])
    return "slept"


def uses_slow_tool(task: Any, link: Any) -> dict[str, Any]:
    """Calls a tool that takes longer than it may, and goes on."""
    from tether.errors import ToolFailed

    link.step()
    try:
        link.tool("nap", seconds=task.input["seconds"])
    except ToolFailed as failed:
        return {"outcome": failed.outcome}
    return {"outcome": "ok"}


def wraps(task: Any, link: Any) -> dict[str, Any]:
    """Steps until the budget is used up, and returns what it has."""
    from tether.errors import BudgetExceeded

    done = 0
    try:
        while done < task.input["steps"]:
            link.step()
            done += 1
    except BudgetExceeded as over:
        return {"steps": done, "limit": over.limit}
    return {"steps": done, "limit": None}
