"""What follows from how an attempt ended."""

from __future__ import annotations

import pytest

from tether.lifecycle import RETRYABLE, TRANSITIONS, Change, Reason, State
from tether.worker.outcome import Outcome, Question, decide, decide_parked


def _decide(outcome: Outcome, failures: int = 0, max_attempts: int = 3):
    return decide(outcome, failures=failures, max_attempts=max_attempts, backoff_s=2.0)


def test_a_result_finishes_the_task() -> None:
    """Completed is the only way to succeed."""
    assert _decide(Outcome(reason=Reason.COMPLETED)).change is Change.FINISH


@pytest.mark.parametrize("reason", sorted(RETRYABLE - {Reason.WORKER_LOST}))
def test_a_failure_is_tried_again_until_attempts_are_used_up(reason: Reason) -> None:
    """The back-off doubles; the last attempt's failure is the task's."""
    first, second, last = (_decide(Outcome(reason=reason), failures=n) for n in range(3))
    assert (first.change, first.delay_s, first.consumes_attempt) == (Change.REQUEUE, 2.0, True)
    assert second.delay_s == 4.0
    assert last.change is Change.FAIL


def test_a_lost_worker_costs_the_task_no_attempt() -> None:
    """However often a worker dies, the task did nothing wrong."""
    verdict = _decide(Outcome(reason=Reason.WORKER_LOST), failures=2)
    assert verdict.change is Change.REQUEUE
    assert not verdict.consumes_attempt


def test_a_question_pauses() -> None:
    """A human is asked, whatever the reason was."""
    asked = Outcome(reason=Reason.BUDGET, question=Question(kind="budget", text="more?"))
    assert _decide(asked).change is Change.PAUSE
    assert _decide(Outcome(reason=Reason.BUDGET)).change is Change.FAIL


@pytest.mark.parametrize("reason", list(Reason))
def test_no_outcome_leads_where_the_table_does_not(reason: Reason) -> None:
    """Whatever an attempt reports, the change and its reason are one the lifecycle has."""
    verdict = _decide(Outcome(reason=reason), failures=9)
    assert verdict.change is not None
    row = TRANSITIONS[State.RUNNING, verdict.change]
    if reason not in (Reason.APPROVAL, Reason.QUESTION, Reason.ESCALATED, Reason.EXPIRED, Reason.OPERATOR):
        assert reason in row.reasons


@pytest.mark.parametrize("reason", list(Reason))
def test_a_parked_task_stays_paused_unless_it_was_decided_or_done(reason: Reason) -> None:
    """What ends while a human decides changes nothing, but a result, a rejection, a cancellation, and an end for good."""
    verdict = decide_parked(Outcome(reason=reason))
    known = {Reason.COMPLETED: Change.FINISH, Reason.CANCELLED: Change.CANCEL, Reason.REJECTED: Change.REJECT}
    assert verdict.change is known.get(reason)
    if verdict.change is not None:
        assert reason in TRANSITIONS[State.RUNNING if verdict.unpark else State.PAUSED, verdict.change].reasons
    assert decide_parked(Outcome(reason=Reason.BUDGET, for_good=True)).change is Change.FAIL
