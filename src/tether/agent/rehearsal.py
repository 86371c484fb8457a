"""A rehearsal of the built-in agent in the zygote: every attempt forked from it finds modules, validators and caches warm.

It plays one attempt of some steps against a model and a supervisor of this module; the model is asked over loopback, because half
of what a first request costs is its connection. Afterwards there is no socket, loop or thread left: none survives a fork.
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

from tether.agent import model
from tether.agent.async_link import AsyncLink
from tether.agent.hello import Hello, TaskView
from tether.agent.loop import builtin
from tether.agent.settings import LoopSettings
from tether.agent.tools import BUILTIN
from tether.packets import pair, receive, send

__all__ = ["rehearse"]

_THREADS_S, _END_S = 2.0, 10.0
_TOOLS = ("read_file", "write_file")
#: The interpreter rewrites code for the types it meets in the first dozen executions; here once, else in every attempt.
_STEPS = 12
_ACT = ("write_file", {"thought": "a", "plan": ["b"], "path": "c", "content": "d"})
_FINISH = ("finish", {"thought": "a", "result": "b"})


def rehearse(config: Mapping[str, Any] | None = None) -> None:
    """Import and exercise what an attempt with this `builtin` configuration will need."""
    chosen = config or {}
    for name in chosen.get("tools") or BUILTIN:
        _load_tool(name)
    asyncio.run(_play(chosen.get("provider") or "openai"))
    model.lay_by(LoopSettings.of({"gateway": {"token": "none"}, "builtin": {**chosen, "tools": ()}}))
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
        played = _Model()
        server = await asyncio.start_server(played.converse, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        spec = {"gateway": {"host": host, "port": port, "token": "rehearsal"}, "builtin": {"provider": provider, "tools": _TOOLS}}
        try:
            await builtin(spec)(task, link)
            await asyncio.wait_for(played.left.wait(), _END_S)
        finally:
            link.close()
            answering.remove_reader(theirs)
            server.close()


def _supervise(sock: socket.socket) -> None:
    """Agree to everything."""
    received = receive(sock)
    if received is not None and received[0]["id"]:
        send(sock, {"id": received[0]["id"], "ok": True, "step": 1, "number": 1, "outcome": "ok", "result": {}})


class _Model:
    """Answers with one tool call, at last `finish`, in the shape of the route it is asked on."""

    def __init__(self) -> None:
        self._turn = 0
        self.left = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of the one connection there is."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                self._turn += 1
                name, args = _ACT if self._turn < _STEPS else _FINISH
                shape = _anthropic if b"/messages" in head.split(b"\r\n")[0] else _openai
                body = json.dumps(shape(f"rehearsal{self._turn}", name, args)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
                )
        writer.close()
        await writer.wait_closed()
        self.left.set()


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
