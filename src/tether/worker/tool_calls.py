"""The tool calls of one attempt: each a process of its own, journaled before it runs and before the agent sees its end."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from tether import packets
from tether.lifecycle import Reason
from tether.store.rows import Written
from tether.worker.attempt import LiveAttempt, Refusal, ToolInFlight
from tether.worker.channel import Channel
from tether.worker.clocks import Deadline
from tether.worker.loop import now_s
from tether.worker.nudging import Nudging
from tether.worker.outcome import Outcome, of_deadline
from tether.worker.replies import Reply
from tether.worker.surroundings import Surroundings

__all__ = ["BUILTIN_TOOLS", "ToolCalls"]

#: Built-in tools that are processes; each is the function `tool` of the module of that name.
BUILTIN_TOOLS = ("web_fetch", "web_search", "run_python", "run_shell", "read_file", "write_file", "list_files")
_MOST_IN_FLIGHT = 32
_RESULT_CHARS = 200_000
_EXIT_GRACE_S = 0.2


class ToolCalls:
    """Starts, ends and reports the tools of one attempt."""

    def __init__(
        self, attempt: LiveAttempt, around: Surroundings, over_budget: Callable[[str, float, float], None], nudging: Nudging
    ) -> None:
        self._attempt = attempt
        self._around = around
        self._over_budget = over_budget
        self._nudging = nudging
        self._numbers = itertools.count(1)
        self._replies: dict[str, Reply] = {}

    def call(self, packet: dict[str, Any], reply: Reply) -> None:
        """Run a tool for the agent; the reply comes when it ended and that is durable."""
        attempt = self._attempt
        attempt.tells_tools = True
        name, call_id = str(packet.get("name")), str(packet.get("call_id"))[:200]
        problem = self._problem(name, call_id)
        if problem is not None:
            reply({"ok": True, "outcome": "refused", "result": None, "error": problem})
            return
        if attempt.tool_calls_used >= attempt.counters.max_tool_calls:
            used, most = attempt.tool_calls_used, attempt.counters.max_tool_calls
            message = f"max_tool_calls: {used} of {most} used"
            reply({"ok": False, "reason": "budget", "message": message, "limit": "max_tool_calls", "used": used, "allowed": most})
            self._over_budget("max_tool_calls", used, most)
            return
        tool = ToolInFlight(
            call_id=call_id,
            tool_id=f"t{next(self._numbers)}",
            name=name,
            args=packet.get("args") or {},
            timeout_s=self._timeout_s(name),
            started_s=now_s(),
        )
        attempt.tools[tool.tool_id] = tool
        attempt.tool_calls_used += 1
        attempt.tool_counts[name] += 1
        self._replies[tool.tool_id] = reply
        event = attempt.event("tool_started", call_id=call_id, name=name, args=tool.args, timeout_s=tool.timeout_s)
        self._around.journal.write(attempt.entry(event, add_tool_calls=1), lambda written: self._start(tool, written))

    def ended(self, packet: Mapping[str, Any]) -> None:
        """Init reports that a tool's process is gone; its result may still be on its way."""
        tool = self._attempt.tools.get(str(packet.get("tool_id")))
        if tool is None or tool.outcome is not None:
            return
        status = packet.get("status")
        tool.grace = self._around.loop.after(_EXIT_GRACE_S, lambda: self._exited(tool, status))

    def timed_out(self, deadline: Deadline, now: float) -> None:
        """A tool's deadline passed: its process is killed and the agent is told; if it will not die, the attempt ends."""
        attempt = self._attempt
        tool = next((tool for tool in attempt.tools.values() if tool.tool_id == deadline.what), None)
        if tool is None:
            attempt.clocks.tool_ended(now, deadline.what)
            return
        outcome = of_deadline(deadline, now)
        late_ms = round(outcome.late_s * 1000, 1)
        fired = attempt.event("timeout_fired", level="tool", limit_s=deadline.limit_s, what=tool.name, late_ms=late_ms)
        self._around.journal.write(attempt.entry(fired))
        self._kill(tool)
        self._settle(tool, "timeout", None, f"{tool.name} took longer than {deadline.limit_s:g} s and was ended")

    def _problem(self, name: str, call_id: str) -> str | None:
        attempt = self._attempt
        if name not in attempt.agent.tools and not (attempt.agent.kind != "builtin" and name in self._around.settings.tools):
            return f"tool: {name!r} is not one of this agent's tools ({', '.join(attempt.agent.tools)})"
        if name in attempt.claim.task.prohibited:
            return f"tool: {name!r} is prohibited for this task"
        if self._entry(name) is None:
            return f"tool: {name!r} has no entry; set [tools.{name}] entry"
        if not call_id or any(tool.call_id == call_id for tool in attempt.tools.values()):
            return f"call_id: {call_id!r} is missing or in use; give each call its own"
        if len(attempt.tools) >= _MOST_IN_FLIGHT:
            return f"{_MOST_IN_FLIGHT} tool calls are in flight already; wait for one to end"
        return None

    def _entry(self, name: str) -> str | None:
        configured = self._around.settings.tools.get(name)
        if configured is not None and configured.entry:
            return configured.entry
        return f"tether.agent.tools.{name}:tool" if name in BUILTIN_TOOLS else None

    def _timeout_s(self, name: str) -> float:
        configured = self._around.settings.tools.get(name)
        own = configured.timeout_s if configured is not None else None
        return own or self._attempt.claim.timeouts.tool_s

    def _start(self, tool: ToolInFlight, written: Written) -> None:
        attempt = self._attempt
        if not attempt.is_live or attempt.ctl is None:
            return
        if not written:
            refusal = Refusal.of(written)
            self._reply(tool, {"ok": False, "reason": refusal.reason, "message": refusal.message})
            if written.problem is None:
                self._around.end(attempt, Outcome(reason=Reason.WORKER_LOST, message="the lease is gone"), dump=False)
            return
        ours, theirs = packets.pair()
        tool.result = Channel(
            self._around.loop, ours, lambda packet, fds: self._answered(tool, packet, fds), lambda: self._hung_up(tool)
        )
        tool.started_s = now_s()
        attempt.clocks.tool_started(tool.started_s, tool.tool_id, tool.timeout_s)
        self._around.rearm(attempt)
        configured = self._around.settings.tools.get(tool.name)
        request = {
            "op": "tool",
            "tool_id": tool.tool_id,
            "name": tool.name,
            "entry": self._entry(tool.name),
            "args": tool.args,
            "options": (configured.options if configured else {}) | {"timeout_s": tool.timeout_s},
        }
        attempt.ctl.send(request, [theirs.fileno()])
        theirs.close()

    def _answered(self, tool: ToolInFlight, packet: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if packet.get("ok") is True:
            self._settle(tool, "ok", packet.get("result"), None)
        else:
            self._settle(tool, "error", None, str(packet.get("error") or packet.get("problem") or "it failed")[:_RESULT_CHARS])

    def _hung_up(self, tool: ToolInFlight) -> None:
        if tool.outcome is None and tool.grace is None:
            tool.grace = self._around.loop.after(_EXIT_GRACE_S, lambda: self._exited(tool, None))

    def _exited(self, tool: ToolInFlight, status: Any) -> None:
        how = "ended" if status is None else f"ended with {_exit_text(status)}"
        self._settle(tool, "error", None, f"the process of {tool.name} {how} before it gave a result")

    def _kill(self, tool: ToolInFlight) -> None:
        if self._attempt.ctl is not None:
            self._attempt.ctl.send({"op": "kill_tool", "tool_id": tool.tool_id})

    def _settle(self, tool: ToolInFlight, outcome: str, result: Any, error: str | None) -> None:
        attempt = self._attempt
        if tool.outcome is not None or not attempt.is_live:
            return
        tool.outcome = outcome
        now = now_s()
        attempt.clocks.tool_ended(now, tool.tool_id)
        if outcome == "ok":
            # What a tool left running after its result is not part of its answer.
            self._kill(tool)
        event = attempt.event(
            "tool_ended",
            call_id=tool.call_id,
            name=tool.name,
            outcome=outcome,
            result=_bounded(result),
            error=error,
            took_ms=round((now - tool.started_s) * 1000, 1),
        )
        self._nudging.ended(tool.name, tool.args, result, error)
        answer = {"ok": True, "outcome": outcome, "result": result, "error": error}
        self._around.journal.write(attempt.entry(event), lambda written: self._settled(tool, answer, written))

    def _settled(self, tool: ToolInFlight, answer: dict[str, Any], written: Written) -> None:
        if not written:
            refusal = Refusal.of(written)
            answer = {"ok": False, "reason": refusal.reason, "message": refusal.message}
        self._reply(tool, answer)

    def _reply(self, tool: ToolInFlight, answer: Mapping[str, Any]) -> None:
        self._attempt.tools.pop(tool.tool_id, None)
        if tool.result is not None:
            tool.result.close()
        reply = self._replies.pop(tool.tool_id, None)
        if reply is not None:
            reply(answer)


def _bounded(result: Any) -> Any:
    """The result as the journal keeps it: whole, or the head of its text when it is very long."""
    text = json.dumps(result, ensure_ascii=False)
    return result if len(text) <= _RESULT_CHARS else text[:_RESULT_CHARS] + "…"


def _exit_text(status: Any) -> str:
    if not isinstance(status, int):
        return "an unknown status"
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
