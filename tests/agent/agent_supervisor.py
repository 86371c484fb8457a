"""A supervisor in a thread that speaks Link over a real socket and remembers a task across attempts, for tests of agents."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.nursery import Nursery
from tether.agent import tools
from tether.deltas import apply_delta
from tether.packets import LinkClosed, pair, receive, send

Packet = dict[str, Any]
#: Decides whether the agent is killed at a request: when it is "asked", or when it is "kept" but not yet answered.
Kill = Callable[[Packet, str], bool]
_END_S = 30.0


@dataclass(kw_only=True)
class Supervised:
    """A task as its supervisor knows it: what was said, what is durable, how it stands."""

    goal: str = "a goal"
    input: Any = None
    result_schema: Any = None
    answers: dict[str, str] = field(default_factory=dict[str, str])
    state: Any = None
    number: int | None = None
    tools: dict[str, Packet] = field(default_factory=dict[str, Packet])
    ran: list[tuple[str, Packet]] = field(default_factory=list[tuple[str, Packet]])
    said: list[Packet] = field(default_factory=list[Packet])
    steps: int = 0
    attempts: int = 0
    partial: Any = None
    result: Any = None
    done: bool = False
    failure: Packet | None = None
    question: Packet | None = None
    refuse: dict[str, Packet] = field(default_factory=dict[str, Packet])
    nudges: dict[int, str] = field(default_factory=dict[int, str])
    results_wanted: list[Packet] = field(default_factory=list[Packet])

    def ops(self, op: str) -> list[Packet]:
        """All requests of one kind so far."""
        return [packet for packet in self.said if packet["op"] == op]


class Supervisor:
    """Supervises one attempt over `sock`: answers until the agent leaves; `kill` may end its process (`pid`) at any request."""

    def __init__(
        self,
        task: Supervised,
        sock: socket.socket,
        *,
        workspace: Path | None = None,
        tool: Callable[[str, Packet], Packet | None] | None = None,
        kill: Kill | None = None,
    ) -> None:
        self.task = task
        self.pid: int | None = None
        self.started = threading.Event()
        self._sock = sock
        self._workspace = workspace or Path.cwd()
        self._tool = tool or self._builtin_tool
        self._kill = kill
        self._sending = threading.Lock()
        self._calls: list[threading.Thread] = []
        task.attempts += 1
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the agent left, or was killed."""
        self._thread.join(_END_S)
        for call in self._calls:
            call.join(_END_S)
        assert not self._thread.is_alive(), "the agent neither ended nor was killed"

    def _serve(self) -> None:
        while (received := receive(self._sock)) is not None:
            packet, _ = received
            self.task.said.append(packet)
            if self._killed(packet, "asked"):
                return
            if packet["op"] == "tool":
                call = threading.Thread(target=self._answer, args=[packet], daemon=True)
                self._calls.append(call)
                call.start()
            else:
                self._answer(packet)

    def _answer(self, packet: Packet) -> None:
        refused = self.task.refuse.get(packet["op"])
        answer = refused or getattr(self, f"_on_{packet['op']}")(packet)
        if self._killed(packet, "kept") or answer is None or not packet["id"]:
            return
        with self._sending, contextlib.suppress(OSError, LinkClosed):  # the agent may have been killed meanwhile
            send(self._sock, {"id": packet["id"], "ok": True, **answer})

    def _killed(self, packet: Packet, phase: str) -> bool:
        if self._kill is None or not self._kill(packet, phase):
            return False
        self._end_agent()
        return True

    def _end_agent(self) -> None:
        assert self.started.wait(_END_S)
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        self._sock.shutdown(socket.SHUT_RDWR)

    def _on_hello(self, _packet: Packet) -> Packet:
        task = self.task
        view = {"id": "task_1", "goal": task.goal, "input": task.input, "result_schema": task.result_schema}
        return {
            "task": view,
            "attempt": task.attempts,
            "step": task.steps,
            "state": task.state,
            "state_number": task.number,
            "partial": task.partial,
            "answers": task.answers,
            "budget": {"max_llm_calls": 50},
            "tools": dict(task.tools),
        }

    def _on_step_started(self, _packet: Packet) -> Packet:
        self.task.steps += 1
        left = {"max_llm_calls": 50 - self.task.steps}
        return {"step": self.task.steps, "budget": left, "nudge": self.task.nudges.get(self.task.steps)}

    def _on_tool(self, packet: Packet) -> Packet | None:
        self.task.tools[packet["call_id"]] = {"outcome": "outcome_unknown", "result": None, "error": None}
        self.task.ran.append((packet["name"], packet["args"]))
        outcome = self._tool(packet["name"], packet["args"])
        if outcome is not None:  # None: it never ended
            self.task.tools[packet["call_id"]] = outcome
        return outcome

    def _builtin_tool(self, name: str, args: Packet) -> Packet:
        spec = tools.BUILTIN.get(name)
        if spec is None:
            return {"outcome": "refused", "result": None, "error": f"{name} is not a tool"}
        answer = tools.run(spec.entry, self._workspace, args, {})
        return {"outcome": "ok" if answer["ok"] else "error", "result": answer.get("result"), "error": answer.get("error")}

    def _on_checkpoint(self, packet: Packet) -> Packet:
        if packet["base"] is None:
            self.task.state = packet["state"]
        else:
            assert packet["base"] == self.task.number, "a delta on another checkpoint"
            self.task.state = apply_delta(self.task.state, packet["state"])
        self.task.number = (self.task.number or 0) + 1
        self.task.tools = {}
        return {"number": self.task.number}

    def _on_partial(self, packet: Packet) -> Packet:
        self.task.partial = packet["result"]
        return {}

    def _on_ask(self, packet: Packet) -> Packet | None:
        answer = self.task.answers.get(packet["key"])
        if answer is not None:
            return {"answer": answer}
        self.task.question = packet
        self._end_agent()
        return None

    def _on_result(self, packet: Packet) -> Packet:
        if self.task.results_wanted:
            return self.task.results_wanted.pop(0)
        self.task.result, self.task.done = packet["result"], True
        return {}

    def _on_failed(self, packet: Packet) -> Packet:
        self.task.failure = packet
        return {}

    def _agreed(self, _packet: Packet) -> Packet:
        return {}

    _on_step_ended = _on_thought = _on_log = _on_memory_trimmed = _agreed

    def _on_budget(self, _packet: Packet) -> Packet:
        return {"budget": {"max_llm_calls": 7}}

    def _on_charge(self, packet: Packet) -> Packet:
        return {"budget": {"max_usd": 5 - packet["nanousd"] / 1e9}}


def attempt(nursery: Nursery, task: Supervised, spec: Packet, *, kill: Kill | None = None, **how: Any) -> int:
    """One attempt at the task in a process of its own, supervised to its end; returns its exit code."""
    ours, theirs = pair()
    with ours:
        with theirs:
            supervisor = Supervisor(task, ours, workspace=Path(spec["workspace"]), kill=kill, **how)
            supervisor.pid = nursery.start(spec, theirs)
            supervisor.started.set()
        supervisor.join()
        return nursery.wait(supervisor.pid)
