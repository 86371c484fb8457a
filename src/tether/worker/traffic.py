"""Steps and tool calls of an agent that says nothing itself, as the gateway reads them from its model calls.

What an agent tells over Link counts, and from then on only that. Everything journaled here is labelled `inferred`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tether.worker.attempt import LiveAttempt
from tether.worker.nudging import Nudging
from tether.worker.steps import close_step, open_step
from tether.worker.surroundings import Surroundings

__all__ = ["Traffic"]

#: Answers that end a step: the model asks for nothing more. Without a reason to stop nobody knows, and the step goes on.
_GOES_ON = (None, "tool_calls", "tool_use", "function_call", "pause_turn")


class Traffic:
    """What was inferred of one attempt."""

    def __init__(
        self, attempt: LiveAttempt, around: Surroundings, nudging: Nudging, over_budget: Callable[[str, float, float], None]
    ) -> None:
        self._attempt = attempt
        self._around = around
        self._nudging = nudging
        self._over_budget = over_budget
        self._talk = ""
        self._answered_s: dict[str, float] = {}
        self._filled: float | None = None

    def take(self, packet: dict[str, Any], now: float) -> None:
        """What the gateway reports, of which not all is of interest here."""
        if not self._attempt.is_live:
            return
        op = packet.get("op")
        if op == "step_seen":
            self._step_seen(packet, now)
        elif op == "tool_seen":
            self._tool_seen(packet, now)
        elif op == "call_ended":
            self._call_ended(packet, now)

    def _step_seen(self, packet: dict[str, Any], now: float) -> None:
        """A new request: a step, unless it begins another conversation in the middle of one."""
        attempt = self._attempt
        if attempt.tells_steps or (attempt.step_open and not packet.get("grew")):
            return
        if attempt.steps_used >= attempt.counters.max_steps:
            self._over_budget("max_steps", attempt.steps_used, attempt.counters.max_steps)
            return
        self._talk = str(packet.get("talk"))
        attempt.thought = str(packet.get("thought") or "")[:2000] or attempt.thought
        events = open_step(attempt, now, inferred=True)
        progress: dict[str, Any] = {"step": attempt.step, "thought": attempt.thought, "inferred": True}
        if self._filled is not None:
            progress["context_used"] = self._filled
        self._around.journal.write(attempt.entry(*events, add_steps=1, progress=progress))

    def _tool_seen(self, packet: dict[str, Any], now: float) -> None:
        """A tool call whose result the agent passes on to the model; when it began is known no better than the answer's end."""
        attempt = self._attempt
        if attempt.tells_tools:
            return
        name, call_id, error = str(packet.get("name")), str(packet.get("call_id")), packet.get("error")
        since = self._answered_s.get(str(packet.get("talk")))
        ended = {
            "outcome": "ok" if error is None else "error",
            "result": packet.get("result") if error is None else None,
            "error": error,
            "took_ms": None if since is None else round((now - since) * 1000, 1),
        }
        started = attempt.event("tool_started", call_id=call_id, name=name, args=packet.get("args"), inferred=True)
        event = attempt.event("tool_ended", call_id=call_id, name=name, inferred=True, **ended)
        attempt.tool_calls_used += 1
        attempt.tool_counts[name] += 1
        self._around.journal.write(attempt.entry(started, event, add_tool_calls=1))
        most = attempt.counters.max_tool_calls
        if attempt.tool_calls_used > most:
            self._over_budget("max_tool_calls", attempt.tool_calls_used, most)
        self._nudging.ended(name, packet.get("args"), packet.get("result"), error, packet.get("digest"))

    def _call_ended(self, packet: dict[str, Any], now: float) -> None:
        """An answer came: the last word of the step's conversation ends the step; how full the window was is progress."""
        attempt, talk = self._attempt, packet.get("talk")
        used, window = packet.get("input_tokens"), packet.get("context_window")
        if isinstance(used, int) and isinstance(window, int) and window > 0:
            self._filled = round(used / window, 4)
        if talk is None or packet.get("outcome") != "ok":
            return
        self._answered_s[str(talk)] = now
        is_last_word = talk == self._talk and packet.get("finish") not in _GOES_ON
        if is_last_word and attempt.step_open and attempt.step_inferred:
            self._around.journal.write(attempt.entry(*close_step(attempt, now)))
