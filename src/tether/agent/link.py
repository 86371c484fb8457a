"""Link: what an agent says to the supervisor, for `def agent(task, link)`; tether.agent.async_link has the awaitable twin.

Replies carry the request's number, so several requests may be outstanding. Standard library only: it also runs in an
interpreter that is not ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tether.agent.hello import Hello, ToolOutcome
from tether.agent.requests import Desk, checked, ended, question_key, unsendable
from tether.errors import ToolFailed
from tether.packets import LinkClosed, PacketError, receive, send

__all__ = ["Link", "open_link"]


def open_link(sock: socket.socket) -> Hello:
    """Ask the supervisor for the task; blocks until it answers, raises AttemptEnding when it is gone."""
    with contextlib.suppress(LinkClosed):
        send(sock, {"id": 1, "op": "hello"})
    received = receive(sock)
    if received is None:
        raise ended()
    return Hello.of(checked(received[0]))


class Link(Desk):
    """The supervisor, for an agent that blocks; may be used from several threads."""

    def __init__(self, sock: socket.socket, hello: Hello) -> None:
        super().__init__(hello)
        self._sock = sock
        self._sending = threading.Lock()
        self._turn = threading.Condition()
        self._reading = False

    def step(self) -> int:
        """Begin a step and return its number; raises AttemptEnding or BudgetExceeded when there shall be no further one."""
        self._end_step()
        return self._stepped(self._request("step_started"))

    def tool(self, name: str, /, **args: Any) -> Any:
        """The result (JSON) of a configured tool, run in its own process; raises ToolFailed with its outcome."""
        outcome = self.call(name, args)
        if outcome.outcome != "ok":
            raise ToolFailed(name, outcome.outcome, outcome.error or "no details")
        return outcome.result

    def call(self, name: str, args: Mapping[str, Any], *, call_id: str | None = None, rerun_unknown: bool = False) -> ToolOutcome:
        """How a tool call ended. A `call_id` that finished in an earlier attempt is not run again; see `known_outcome`."""
        known = self.known_outcome(call_id, rerun_unknown)
        return known or ToolOutcome.of(self._request("tool", **self._tool_fields(name, args, call_id)))

    def checkpoint(self, state: Any) -> int:
        """Make `state` (JSON) durable and return its number; only what changed is sent. The next attempt has it as `state`."""
        number = self._request("checkpoint", **self._difference(state))["number"]
        self._kept(number, state)
        return number

    def extend(self, *, append: Mapping[str, Sequence[Any]], changed: Mapping[str, Any]) -> int:
        """Make a delta on the last checkpoint durable: items appended to its lists, keys set."""
        number = self._request("checkpoint", **self._delta(append, changed))["number"]
        self._extended(number)
        return number

    def partial(self, result: Any) -> None:
        """Keep what was accomplished so far (JSON): the user gets it whatever happens."""
        self._request("partial", result=result)

    def ask(self, question: str, *, key: str | None = None, choices: Sequence[str] | None = None) -> str:
        """The human's answer. While there is none the attempt ends here; the next one finds the answer by the same `key`."""
        key = key or question_key(question)
        if key not in self.answers:
            self.answers[key] = self._request("ask", question=question, key=key, choices=list(choices or ()))["answer"]
        return self.answers[key]

    def charge(self, usd: float, what: str = "") -> None:
        """Count dollars spent outside the gateway against the budget; raises BudgetExceeded."""
        self._request("charge", **self._charge_fields(usd, what))

    def budget(self) -> Mapping[str, float]:
        """What is left of every limit now; `budget_left` is the same as of the last step."""
        self._request("budget")
        return self.budget_left

    def log(self, text: str, level: str = "info") -> None:
        """Write a line into the task's journal."""
        self._post({"id": 0, "op": "log", "level": level, "text": text})

    def thought(self, thoughts: str, plan: Sequence[str] = (), criticism: str = "") -> None:
        """Show what the agent thinks, plans and doubts."""
        self._post({"id": 0, "op": "thought", "thoughts": thoughts, "plan": list(plan), "criticism": criticism})

    def finish(self, result: Any, summary: str = "", *, repairable: bool = False) -> None:
        """Hand over the result; raises LinkError("invalid_result") when it does not match the task's schema."""
        self._request("result", result=result, summary=summary, repairable=repairable)
        self.finished = True

    def fail(self, reason: str, message: str, traceback: str = "") -> None:
        """Say why this attempt failed: agent_error, context_exceeded, upstream_error or invalid_result."""
        self._request("failed", reason=reason, message=message, traceback=traceback)
        self.finished = True

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the supervisor ends this attempt, at most `timeout_s` seconds between two packets."""
        self._sock.settimeout(timeout_s)
        with contextlib.suppress(OSError):
            while receive(self._sock) is not None:
                pass

    def _end_step(self) -> None:
        if self._in_step:
            self._request("step_ended")
            self._in_step = False

    def _post(self, packet: dict[str, Any]) -> None:
        try:
            with self._sending:
                send(self._sock, packet)
        except LinkClosed:
            raise ended() from None
        except PacketError as error:
            raise unsendable(packet, error) from None

    def _request(self, op: str, **fields: Any) -> dict[str, Any]:
        number = self._next_number()
        self._post({"id": number, "op": op, **fields})
        with self._turn:
            while number not in self._replies:
                if self._reading:
                    self._turn.wait()
                else:
                    self._read_one()
            return self._accepted(self._replies.pop(number))

    def _read_one(self) -> None:
        """Receive for everyone who waits: one thread reads, outside the lock, the others wait for their reply."""
        self._reading = True
        self._turn.release()
        received = None
        try:
            received = receive(self._sock)
        finally:
            self._turn.acquire()
            self._reading = False
            self._turn.notify_all()
        if received is None:
            raise ended()
        packet, fds = received
        for fd in fds:
            os.close(fd)
        self._replies[packet.get("id", 0)] = packet
