"""What follows from going round in circles: told once to try something else, then paused for a human who sees the pattern."""

from __future__ import annotations

from typing import Any

from tether.lifecycle import Reason
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome, Question
from tether.worker.stuck import Circle, EndedCall, Suspicions
from tether.worker.surroundings import Surroundings

__all__ = ["Nudging"]

_LEAVE_S = 1.0


class Nudging:
    """Watches the tool calls of one attempt, told or inferred."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self._suspicions = Suspicions(around.settings.stuck)
        self._warned = False

    def ended(self, name: str, args: Any, result: Any, error: str | None, digest: str | None = None) -> None:
        """A tool call ended."""
        attempt = self._attempt
        if not attempt.is_live or attempt.stop_wanted is not None:
            return
        circle = self._suspicions.ended(EndedCall.of(name, args, result, error, digest))
        if circle is None:
            return
        # An agent that asks for no step of ours cannot be told anything.
        nudged = not self._warned and attempt.tells_steps
        if nudged:
            attempt.nudge = f"You seem to be going round in circles: {circle}. Try something else, or finish with what you have."
        event = attempt.event("stuck_suspected", pattern=circle.pattern, count=circle.count, nudged=nudged)
        self._around.journal.write(attempt.entry(event))
        if self._warned:
            self._pause(circle)
        self._warned = True

    def _pause(self, circle: Circle) -> None:
        attempt = self._attempt
        message = f"It goes round in circles: {circle}."
        details = {
            "pattern": circle.pattern,
            "count": circle.count,
            "calls": list(circle.calls),
            "spent": attempt.usage(),
            "last_thought": attempt.thought,
            "partial": attempt.partial,
        }
        question = Question(kind=ApprovalKind.STUCK, text=f"{message} Let it go on?", details=details)
        outcome = Outcome(reason=Reason.STUCK, message=message, question=question)
        attempt.stop_wanted = outcome
        attempt.stop_timer = self._around.loop.after(_LEAVE_S, lambda: self._around.end(attempt, outcome, dump=True))
