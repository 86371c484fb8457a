"""An agent of one's own that asks its model over plain HTTP and notes each answer by a tool, after its checkpoint."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any


def noting(task: Any, link: Any) -> list[str]:
    """As many steps as the input says; a refused call is an exception, which it does not catch."""
    said: list[str] = (link.state or {"said": []})["said"]
    while len(said) < task.input["steps"]:
        link.step()
        said = [*said, _ask(task.goal, said)]
        link.checkpoint({"said": said})
        link.tool("run_shell", call_id=f"note-{len(said)}", command=f"echo {said[-1]} >> notes.txt")
    return said


def _ask(goal: str, said: list[str]) -> str:
    messages = [{"role": "user", "content": goal}]
    for text in said:
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on"}]
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        data=json.dumps({"model": "default", "messages": messages}).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]
