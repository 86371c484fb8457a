"""AsyncLink: the awaitable twin of Link, for `async def agent(task, link)`. Standard library only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tether.agent.hello import Hello, ToolOutcome
from tether.agent.requests import Desk, ended, question_key, unsendable
from tether.errors import ToolFailed
from tether.packets import LinkClosed, PacketError, receive, send

__all__ = ["AsyncLink"]


class AsyncLink(Desk):
    """The supervisor, for an agent on an event loop; several tasks may wait for replies at the same time."""

    def __init__(self, sock: socket.socket, hello: Hello) -> None:
        super().__init__(hello)
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._outbox: deque[dict[str, Any]] = deque()
        self._gone = asyncio.Event()

    async def step(self) -> int:
        """Begin a step and return its number; raises AttemptEnding or BudgetExceeded when there shall be no further one."""
        await self.step_ended()
        return self._stepped(await self._request("step_started"))

    async def step_ended(self) -> None:
        """End the step that is open, if any; `step` does it too."""
        if self._in_step:
            await self._request("step_ended")
            self._in_step = False

    async def tool(self, name: str, /, **args: Any) -> Any:
        """The result (JSON) of a configured tool, run in its own process; raises ToolFailed with its outcome."""
        outcome = await self.call(name, args)
        if outcome.outcome != "ok":
            raise ToolFailed(name, outcome.outcome, outcome.error or "no details")
        return outcome.result

    async def call(
        self, name: str, args: Mapping[str, Any], *, call_id: str | None = None, rerun_unknown: bool = False
    ) -> ToolOutcome:
        """How a tool call ended. A `call_id` that finished in an earlier attempt is not run again; see `known_outcome`."""
        known = self.known_outcome(call_id, rerun_unknown)
        return known or ToolOutcome.of(await self._request("tool", **self._tool_fields(name, args, call_id)))

    async def checkpoint(self, state: Any) -> int:
        """Make `state` (JSON) durable and return its number; only what changed is sent. The next attempt has it as `state`."""
        number = (await self._request("checkpoint", **self._difference(state)))["number"]
        self._kept(number, state)
        return number

    async def extend(self, *, append: Mapping[str, Sequence[Any]], changed: Mapping[str, Any]) -> int:
        """Make a delta on the last checkpoint durable: items appended to its lists, keys set."""
        number = (await self._request("checkpoint", **self._delta(append, changed)))["number"]
        self._extended(number)
        return number

    async def partial(self, result: Any) -> None:
        """Keep what was accomplished so far (JSON): the user gets it whatever happens."""
        await self._request("partial", result=result)

    async def ask(self, question: str, *, key: str | None = None, choices: Sequence[str] | None = None) -> str:
        """The human's answer. While there is none the attempt ends here; the next one finds the answer by the same `key`."""
        key = key or question_key(question)
        if key not in self.answers:
            reply = await self._request("ask", question=question, key=key, choices=list(choices or ()))
            self.answers[key] = reply["answer"]
        return self.answers[key]

    async def charge(self, usd: float, what: str = "") -> None:
        """Count dollars spent outside the gateway against the budget; raises BudgetExceeded."""
        await self._request("charge", **self._charge_fields(usd, what))

    async def budget(self) -> Mapping[str, float]:
        """What is left of every limit now; `budget_left` is the same as of the last step."""
        await self._request("budget")
        return self.budget_left

    async def log(self, text: str, level: str = "info") -> None:
        """Write a line into the task's journal."""
        self._post({"id": 0, "op": "log", "level": level, "text": text})

    async def thought(self, thoughts: str, plan: Sequence[str] = (), criticism: str = "") -> None:
        """Show what the agent thinks, plans and doubts."""
        self._post({"id": 0, "op": "thought", "thoughts": thoughts, "plan": list(plan), "criticism": criticism})

    async def memory_trimmed(self, before_tokens: int, after_tokens: int, how: str) -> None:
        """Tell that old messages were dropped or shortened; estimated tokens."""
        self._post({"id": 0, "op": "memory_trimmed", "before_tokens": before_tokens, "after_tokens": after_tokens, "how": how})

    async def finish(self, result: Any, summary: str = "", *, repairable: bool = False) -> None:
        """Hand over the result; raises LinkError("invalid_result") when it does not match the task's schema."""
        await self._request("result", result=result, summary=summary, repairable=repairable)
        self.finished = True

    async def give_partial(self, result: Any, summary: str = "") -> None:
        """Hand over what there is, once the budget is used up: the attempt ends with it as the partial answer."""
        await self._request("result", result=result, summary=summary, partial=True)
        self.finished = True

    async def fail(self, reason: str, message: str, traceback: str = "") -> None:
        """Say why this attempt failed: agent_error, context_exceeded, upstream_error or invalid_result."""
        await self._request("failed", reason=reason, message=message, traceback=traceback)
        self.finished = True

    async def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the supervisor ends this attempt, at most `timeout_s` seconds."""
        self._attach()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), timeout_s)

    def close(self) -> None:
        """Leave the event loop; the socket stays open."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._loop = None

    def _attach(self) -> None:
        if self._loop is None and not self._gone.is_set():
            self._loop = asyncio.get_running_loop()
            self._sock.setblocking(False)
            self._loop.add_reader(self._sock, self._readable)

    def _post(self, packet: dict[str, Any]) -> None:
        self._attach()
        if self._gone.is_set():
            raise ended()
        self._outbox.append(packet)
        if len(self._outbox) == 1:
            self._writable()

    def _writable(self) -> None:
        """Send what waits, in order; when the socket is full the loop calls again."""
        while self._outbox and self._loop is not None:
            try:
                send(self._sock, self._outbox[0])
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._writable)
                return
            except LinkClosed:
                self._lost()
                return
            except PacketError as error:
                self._answer(self._outbox[0], unsendable(self._outbox[0], error))
            self._outbox.popleft()
        if self._loop is not None:
            self._loop.remove_writer(self._sock)

    def _answer(self, packet: dict[str, Any], answer: dict[str, Any] | Exception) -> None:
        """Hand `answer` to the task that waits for the reply with this packet's number, if any."""
        waiting = self._waiting.get(packet.get("id", 0))
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    async def _request(self, op: str, **fields: Any) -> dict[str, Any]:
        number = self._next_number()
        reply = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            self._post({"id": number, "op": op, **fields})
            return self._accepted(await reply)
        finally:
            self._waiting.pop(number, None)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                received = receive(self._sock)
                if received is None:
                    self._lost()
                    return
                packet, fds = received
                for fd in fds:
                    os.close(fd)
                self._answer(packet, packet)

    def _lost(self) -> None:
        self.close()
        self._outbox.clear()
        self._gone.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ended())
