"""What clients want of running tasks: to cancel, pause, escalate, decide, change limits; carried out where nothing is lost."""

from __future__ import annotations

from tether.lifecycle import Reason
from tether.store.rows import Intent
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt
from tether.worker.attempts import Attempts
from tether.worker.outcome import Outcome, Question
from tether.worker.surroundings import Surroundings

__all__ = ["Wishes"]


class Wishes:
    """Carries them out; they come again until they are."""

    def __init__(self, around: Surroundings, attempts: Attempts) -> None:
        self._around = around
        self._attempts = attempts

    def act(self, intent: Intent) -> None:
        """Do what one asks, if its attempt is still the one that was meant."""
        attempt = self._attempts.of_task(intent.task_id)
        if attempt is None or not attempt.is_live or attempt.claim.lease_token != intent.lease_token:
            return
        if intent.kind == "cancel":
            message = f"Cancelled by {intent.by}." if intent.by else "Cancelled."
            self._attempts.end(attempt, Outcome(reason=Reason.CANCELLED, message=message), dump=True)
        elif intent.kind in ("unpark", "reject"):
            self._attempts.parking.decided(attempt, intent)
        elif attempt.parked and intent.kind != "update":
            return  # paused already; what was asked before is asked again once it goes on
        elif intent.kind == "pause":
            self.stop_at_step(attempt, Outcome(reason=Reason.OPERATOR, message=intent.note or "Paused on request.", pause=True))
        elif intent.kind == "escalate":
            text = intent.note or "A human was asked to take over."
            asked = Question(kind=ApprovalKind.ESCALATED, text=text, details={"by": intent.by, "partial": attempt.partial})
            self.stop_at_step(attempt, Outcome(reason=Reason.ESCALATED, message=text, question=asked))
        elif intent.kind == "update":
            self._update(attempt, intent)

    def _update(self, attempt: LiveAttempt, intent: Intent) -> None:
        if intent.counters is not None and intent.counters.epoch != attempt.counters.epoch:
            attempt.counters = intent.counters
        if intent.timeouts is not None:
            attempt.clocks.limit(intent.timeouts.task_s, intent.timeouts.step_s, intent.timeouts.idle_s)
            self._attempts.rearm(attempt)

    def stop_at_step(self, attempt: LiveAttempt, outcome: Outcome) -> None:
        """Ask the agent to return at its next step; after drain_s it is ended where it stands, from its last checkpoint."""
        if attempt.stop_wanted is None:
            attempt.stop_wanted = outcome
            end_s = self._around.settings.worker.drain_s
            attempt.stop_timer = self._around.loop.after(end_s, lambda: self._attempts.end(attempt, outcome, dump=True))
