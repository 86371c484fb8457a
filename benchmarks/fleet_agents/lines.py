"""Agents that write when they began."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Any


def _note(task: Any) -> None:
    line = f"{task.goal} {time.time():.6f}\n".encode()
    book = os.open(task.input["book"], os.O_WRONLY | os.O_APPEND)
    os.write(book, line)
    os.close(book)


def line(task: Any, link: Any) -> str:  # noqa: ARG001 - every agent takes both
    """One line."""
    _note(task)
    return "done"


def stay(task: Any, link: Any) -> None:
    """One line, then work for ever."""
    _note(task)
    while True:
        link.step()
        time.sleep(1)


def work(task: Any, link: Any) -> str:
    """A question to the model, a checkpoint and a pause in each step."""
    for number in range(task.input["steps"]):
        link.step()
        body = json.dumps({"model": "default", "messages": [{"role": "user", "content": f"{task.goal} {number}"}]}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
        request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
        link.checkpoint({"number": number})
        time.sleep(task.input["pause_s"])
    return "done"
