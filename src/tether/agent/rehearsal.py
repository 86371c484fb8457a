"""A rehearsal of the built-in agent in the zygote: every attempt forked from it finds modules, validators and caches warm.

It plays one attempt of two steps against a model and a supervisor that are functions of this module. Afterwards there is no
socket, loop or thread left, because none of them survives a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from tether.agent.async_link import AsyncLink
from tether.agent.hello import Hello, TaskView
from tether.agent.loop import Loop
from tether.agent.model import AgentModel
from tether.agent.settings import LoopSettings
from tether.agent.toolbox import definitions
from tether.agent.tools import BUILTIN, offered
from tether.packets import pair, receive, send

__all__ = ["rehearse"]

_THREADS_S = 2.0
_TOOLS = ("read_file", "write_file")
_ANSWERS = (
    ("write_file", {"thought": "a", "plan": ["b"], "path": "c", "content": "d"}),
    ("finish", {"thought": "a", "result": "b"}),
)


def rehearse(config: Mapping[str, Any] | None = None) -> None:
    """Import and exercise what an attempt with this `builtin` configuration will need."""
    chosen = config or {}
    for name in chosen.get("tools") or BUILTIN:
        _load_tool(name)
    asyncio.run(_play(chosen.get("provider") or "openai"))
    _wait_for_threads()


def _wait_for_threads() -> None:
    """The vendors' clients ask for the platform's name in a thread; it is joined, but the kernel may show it a moment longer."""
    deadline = time.monotonic() + _THREADS_S
    with contextlib.suppress(OSError):
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)


def _load_tool(name: str) -> None:
    spec = BUILTIN.get(name)
    if spec is None or not spec.entry:
        return
    importlib.import_module(spec.entry.partition(":")[0])
    if name == "web_fetch":
        importlib.import_module("trafilatura").extract("<html><body><p>rehearsal</p></body></html>")


async def _play(provider: str) -> None:
    ours, theirs = pair()
    with ours, theirs:
        answering = asyncio.get_running_loop()
        theirs.setblocking(False)
        answering.add_reader(theirs, _supervise, theirs)
        task = TaskView(id="rehearsal", goal="rehearse")
        link = AsyncLink(ours, Hello(task=task))
        settings = LoopSettings(base_url="http://rehearsal", token="rehearsal", provider=provider, tools=offered(_TOOLS, {}))
        tools = definitions(settings.tools.values(), None)
        model = AgentModel(settings, tools, httpx2.MockTransport(_Model()))
        try:
            await Loop(task, link, settings, model, fixed_chars=0).work()
        finally:
            await model.close()
            link.close()
            answering.remove_reader(theirs)


def _supervise(sock: socket.socket) -> None:
    """Agree to everything."""
    received = receive(sock)
    if received is not None and received[0]["id"]:
        send(sock, {"id": received[0]["id"], "ok": True, "step": 1, "number": 1, "outcome": "ok", "result": {}})


class _Model:
    """Says the next of _ANSWERS in the shape of the route it is asked on."""

    def __init__(self) -> None:
        self._turn = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        name, args = _ANSWERS[self._turn]
        self._turn += 1
        shape = _anthropic if request.url.path.endswith("/messages") else _openai
        return httpx2.Response(200, json=shape(f"rehearsal{self._turn}", name, args))


def _openai(call_id: str, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    message = {"role": "assistant", "content": "rehearsal", "tool_calls": [call]}
    return {
        "id": call_id,
        "object": "chat.completion",
        "created": 0,
        "model": "rehearsal",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _anthropic(call_id: str, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "message",
        "role": "assistant",
        "model": "rehearsal",
        "content": [
            {"type": "text", "text": "rehearsal"},
            {"type": "tool_use", "id": call_id, "name": name, "input": dict(args)},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
