"""An agent that keeps a book outside of Tether: each sign of life is a line with its attempt, in true order."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

_GIVE_UP_S = 90.0


def counted(task: Any, link: Any) -> list[str]:
    """Asks the model once in each step, and checkpoints its answer."""
    book = os.open(task.input["book"], os.O_WRONLY | os.O_APPEND)

    def note(what: str) -> None:
        os.write(book, f"{task.id} {link.attempt} {what}\n".encode())

    state = link.state or {"answers": []}
    note("begin")
    while len(state["answers"]) < task.input["steps"]:
        link.step()
        number = len(state["answers"])
        answer = _ask(f"{task.id} {number}", note)
        for _ in range(task.input["ticks"]):
            time.sleep(0.02)
            note("tick")
        state = {"answers": [*state["answers"], answer]}
        link.checkpoint(state)
        note(f"checkpoint {number}")
    note("end")
    return state["answers"]


def _ask(text: str, note: Any) -> str:
    """The model's answer; asks again where the gateway was restarted or the store away."""
    body = json.dumps({"model": "default", "messages": [{"role": "user", "content": text}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    give_up = time.monotonic() + _GIVE_UP_S
    while True:
        request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)["choices"][0]["message"]["content"]
        except (OSError, ValueError, urllib.error.HTTPError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 402  # 402: held
            if refused or time.monotonic() > give_up:
                raise
            note("again")
            time.sleep(0.1)
