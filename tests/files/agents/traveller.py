"""An agent that works in files and waits for a human in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def traveller(task: Any, link: Any) -> dict[str, Any]:
    """Writes before and after its checkpoint, asks, and tells what it finds when it comes back."""
    state = link.state or {"at": 0}
    if state["at"] == 0:
        link.step()
        Path("notes.txt").write_text("before")
        link.checkpoint({"at": 1})
        Path("scratch.txt").write_text("after the checkpoint")
    colour = link.ask("Which colour?", key="colour")
    link.step()
    found = {path.name: path.read_text() for path in sorted(Path().glob("*.txt"))}
    Path("result.txt").write_text(colour)
    return {"found": found, "colour": f"{colour}{task.input or ''}"}
