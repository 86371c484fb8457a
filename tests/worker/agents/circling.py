"""An agent of one's own that calls the same tool in every step, and notes what it is told about that."""

from __future__ import annotations

from typing import Any


def circling(task: Any, link: Any) -> dict[str, Any]:
    """As many steps as the input says, each with the input's command; `breaks_after`: an error after so many of an attempt."""
    state = link.state or {"steps": 0, "told": []}
    first = state["steps"]
    while state["steps"] < task.input["steps"]:
        link.step()
        if link.nudge:
            state["told"].append(link.nudge)
            link.partial(state["told"])
        link.tool("run_shell", command=task.input["command"])
        state["steps"] += 1
        link.checkpoint(state)
        if state["steps"] - first == task.input.get("breaks_after"):
            raise RuntimeError("it broke")
    return {"told": state["told"]}
