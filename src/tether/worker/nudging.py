"""What follows from going round in circles: told once to try something else, then paused for a human who sees the pattern.

An attempt that goes on from a checkpoint has the history of those before it; one that starts over repeats it, and rightly so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tether.errors import TetherError
from tether.events import Event
from tether.lifecycle import Reason
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome, Question
from tether.worker.replaying import would_start_over
from tether.worker.stuck import Circle, EndedCall, Suspicions
from tether.worker.surroundings import Surroundings

__all__ = ["Nudging", "history"]

_LEAVE_S = 1.0
_MOST_EVENTS = 200


class Nudging:
    """Watches the tool calls of one attempt, told or inferred."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self._suspicions = Suspicions(around.settings.stuck)
        self._warned = False

    def remember(self) -> None:
        """Ask the store what earlier attempts did that this one goes on from."""
        attempt = self._attempt
        if attempt.claim.attempt > 1 and not would_start_over(attempt):
            task_id = attempt.claim.task_id
            self._around.journal.ask(lambda store: store.tool_history(task_id, most=_MOST_EVENTS), self._recall)

    def _recall(self, found: Sequence[Event] | TetherError) -> None:
        if not isinstance(found, TetherError):
            calls, warned = history(found)
            self._suspicions.remember(calls)
            self._warned = self._warned or warned

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


def history(events: Sequence[Event]) -> tuple[list[EndedCall], bool]:
    """The calls no circle was suspected in yet, and whether one was since a human last let the task go on. Pure."""
    calls: list[EndedCall] = []
    args: dict[Any, Any] = {}
    warned = False
    for event in events:
        data = event.data
        if event.type == "tool_started":
            args[data.get("call_id")] = data.get("args")
        elif event.type == "tool_ended":
            call = EndedCall.of(str(data.get("name")), args.get(data.get("call_id")), data.get("result"), data.get("error"))
            calls.append(call)
        else:
            calls.clear()
            warned = event.type == "stuck_suspected"
    return calls, warned
