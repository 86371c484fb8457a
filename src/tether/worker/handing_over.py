"""What an agent hands over when it is done: a result that is checked against its schema, a partial answer, or why it failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tether.events import NewEvent
from tether.lifecycle import Reason
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome
from tether.worker.replies import LONGEST_TEXT, Reply, refused, text
from tether.worker.surroundings import Surroundings

__all__ = ["HandingOver"]


class HandingOver:
    """The end of one attempt, as its agent tells it. note: journals an event that needs no answer."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings, note: Callable[[NewEvent], None]) -> None:
        self._attempt = attempt
        self._around = around
        self._note = note

    def result(self, packet: dict[str, Any], reply: Reply) -> None:
        """It has its result, or a partial one."""
        if packet.get("partial") or self._attempt.wraps_up:
            self._keep_and_end(packet, reply)
            return
        schema = self._attempt.claim.task.result_schema
        if schema is None:
            self._accept(packet, reply)
            return
        result = packet.get("result")
        self._around.offload(
            lambda: self._around.checks.problem_of(result, schema), lambda problem: self._checked(problem, packet, reply)
        )

    def _checked(self, problem: str | Exception | None, packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        if problem is None:
            self._accept(packet, reply)
            return
        repair = attempt.agent.kind == "builtin" and not attempt.repaired
        attempt.repaired = True
        raw = json.dumps(packet.get("result"), ensure_ascii=False)[:LONGEST_TEXT]
        self._note(attempt.event("result_rejected", problem=str(problem)[:2000], repair=repair, raw=raw))
        reply(refused("invalid_result", f"the result does not match result_schema: {problem}"))
        if not repair:
            message = f"The result does not match result_schema: {problem}"
            self._around.end(attempt, Outcome(reason=Reason.INVALID_RESULT, message=message), dump=False)

    def _keep_and_end(self, packet: dict[str, Any], reply: Reply) -> None:
        """What an attempt that wraps up hands over is its partial answer."""
        attempt = self._attempt
        attempt.partial = packet.get("result")
        self._around.journal.write(attempt.entry(partial=attempt.partial))
        reply({"ok": True})
        self._around.end(attempt, attempt.stop_wanted or Outcome(reason=Reason.BUDGET), dump=False)

    def _accept(self, packet: dict[str, Any], reply: Reply) -> None:
        message = text(packet.get("summary"), 2000)
        outcome = Outcome(reason=Reason.COMPLETED, message=message, has_result=True, result=packet.get("result"))
        reply({"ok": True})
        self._around.end(self._attempt, outcome, dump=False)

    def failed(self, packet: dict[str, Any], reply: Reply) -> None:
        """It cannot go on."""
        known = {r.value: r for r in (Reason.AGENT_ERROR, Reason.CONTEXT_EXCEEDED, Reason.UPSTREAM_ERROR, Reason.INVALID_RESULT)}
        reason = known.get(str(packet.get("reason")), Reason.AGENT_ERROR)
        traceback = text(packet.get("traceback"), LONGEST_TEXT)
        if traceback:
            self._note(self._attempt.event("agent_log", level="error", text=traceback))
        reply({"ok": True})
        # A refusal for the budget usually reaches the agent as an exception; the flag, not the exception, says why it ends.
        outcome = self._attempt.stop_wanted or Outcome(reason=reason, message=text(packet.get("message"), 2000))
        self._around.end(self._attempt, outcome, dump=False)
