"""An agent of one's own that calls the same tool in every step, and notes what it is told about that."""

from __future__ import annotations

from typing import Any


def circling(task: Any, link: Any) -> dict[str, Any]:
    """As many steps as the input says, each with the input's command."""
    told: list[str] = []
    for _ in range(task.input["steps"]):
        link.step()
        if link.nudge:
            told.append(link.nudge)
            link.partial(told)
        link.tool("run_shell", command=task.input["command"])
    return {"told": told}
