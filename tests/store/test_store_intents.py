from __future__ import annotations

import pytest

from staging import claimed, ended, entry, llm, submitted, types, until, worker, wrote
from tether.errors import Conflict, IllegalTransition, NotFound, ValidationError
from tether.lifecycle import Change, Reason
from tether.store import Store
from tether.store.rows import Claim, NewApproval, NewCheckpoint, Park
from tether.task import Answer, Budget, Timeouts


def _wishes(store: Store, claim: Claim) -> dict[str, str]:
    holder = next(w.id for w in store.workers() if claim.task_id in store.leases(w.id))
    return {i.kind: i.by for i in store.intents(holder)}


def test_an_idle_task_is_changed_at_once(store: Store) -> None:
    """Pause, resume, cancel and retry of a task nobody works on take effect in the same call; repeating one is harmless."""
    task_id = submitted(store)
    assert store.pause(task_id, by="ann", note="Wait for prices.").reason == "operator"
    assert store.pause(task_id).state == "paused"
    assert "Wait for prices." in store.get(task_id).message
    assert store.get(task_id).actions == ("resume", "cancel", "escalate", "update")
    assert store.resume(task_id).state == "queued"
    assert store.cancel(task_id).state == "cancelled"
    assert store.cancel(task_id).state == "cancelled"
    with pytest.raises(IllegalTransition, match="cancelled"):
        store.pause(task_id)
    assert store.retry(task_id).state == "queued"
    with pytest.raises(IllegalTransition, match="queued already"):
        store.retry(task_id)


def test_a_running_task_is_asked(store: Store) -> None:
    """Wishes for a running task reach its worker and no other, stay until it acts, and a pause can be taken back."""
    claim = claimed(store)
    assert store.pause(claim.task_id, by="ann").state == "running"
    assert "pauses at the next step" in store.get(claim.task_id).message
    assert _wishes(store, claim) == {"pause": "ann"}
    assert store.intents(worker(store)) == []
    store.resume(claim.task_id, by="ann")
    assert _wishes(store, claim) == {}
    store.cancel(claim.task_id, by="bob")
    assert _wishes(store, claim) == {"cancel": "bob"}
    ended(store, claim, Change.CANCEL, Reason.CANCELLED, "cancelled")
    cancelled = store.events(claim.task_id)[-1]
    assert (cancelled.type, cancelled.data["by"]) == ("task_cancelled", "bob")


@pytest.mark.parametrize(("wish", "state"), [("cancel", "cancelled"), ("pause", "paused"), ("escalate", "paused")])
def test_a_wish_not_seen_in_time_is_still_done(store: Store, wish: str, state: str) -> None:
    """A wish that arrives while the attempt hands its task back is done instead of another attempt."""
    claim = claimed(store)
    getattr(store, wish)(claim.task_id, by="ann")
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    assert store.get(claim.task_id).state == state


def test_a_finished_task_is_not_undone_by_a_late_wish(store: Store) -> None:
    """A result that came before the wish was seen stands."""
    claim = claimed(store)
    store.cancel(claim.task_id)
    ended(store, claim, Change.FINISH, Reason.COMPLETED, "succeeded", result=1)
    got = store.get(claim.task_id)
    assert (got.state, got.result, got.actions) == ("succeeded", 1, ())


def test_changed_limits_reach_the_worker(store: Store) -> None:
    """update() is told to the lease holder with the new figures; a stale revision, a final task and bad values are refused."""
    claim = claimed(store)
    revision = store.revision(claim.task_id)
    got = store.update(
        claim.task_id, budget={"max_usd": 9}, timeouts={"step_s": 7}, priority=5, note="hurry", if_revision=revision
    )
    assert (got.budget.max_usd, got.timeouts.step_s, got.priority) == (9.0, 7.0, 5)
    [intent] = store.intents(next(w.id for w in store.workers() if w.leases))
    assert intent.kind == "update"
    assert intent.counters is not None
    assert intent.timeouts is not None
    assert (intent.counters.max_nanousd, intent.timeouts.step_s) == (9 * 10**9, 7.0)
    assert store.events(claim.task_id)[-1].data["changes"]["budget"] == {"max_usd": 9.0}
    with pytest.raises(Conflict, match="changed meanwhile"):
        store.update(claim.task_id, priority=1, if_revision=revision)
    for bad in ({"priority": 5000}, {"timeouts": {"step_s": 0}}, {"budget": {"max_gold": 1}}):
        with pytest.raises(ValidationError):
            store.update(claim.task_id, **bad)  # type: ignore[arg-type]
    ended(store, claim, Change.FINISH, Reason.COMPLETED, "succeeded")
    with pytest.raises(Conflict, match="not final"):
        store.update(claim.task_id, priority=1)


def test_retry_goes_on_from_the_checkpoint(store: Store) -> None:
    """A failed task that is retried gets fresh attempts and a fresh clock, keeps its checkpoint, and its spend stays counted."""
    claim = claimed(store)
    store.reserve([llm(claim, "a", hold=5)])
    wrote(store, claim, checkpoint=NewCheckpoint(number=1, state={"n": 1}), active_s=50, partial="half")
    ended(store, claim, Change.FAIL, Reason.TASK_TIMEOUT, consumes_attempt=True)
    got = store.get(claim.task_id)
    assert (got.actions, got.partial) == (("retry", "escalate"), "half")
    assert "partial result" in got.message
    store.retry(claim.task_id, by="ann")
    [again] = store.claim(worker(store), ["autogpt"], 1)
    assert (again.failures, again.active_s, again.counters.llm_calls) == (0, 0, 1)
    assert again.checkpoint is not None
    assert again.checkpoint.state == {"n": 1}


def _asked(store: Store, kind: str, reason: Reason, **fields: object) -> NewApproval:
    ask = NewApproval(kind=kind, question="Well?", **fields)  # type: ignore[arg-type]
    ended(store, claimed(store), Change.PAUSE, reason, "paused", approval=ask)
    return ask


def test_a_question_is_answered_once(store: Store) -> None:
    """An answer is stored under its key and the task goes on; a second decision, an approval or an empty answer is refused."""
    ask = _asked(store, "question", Reason.QUESTION, key="colour")
    task_id = store.approval(ask.id).task_id
    assert store.get(task_id).actions[:2] == ("answer", "reject")
    assert "Well?" in store.get(task_id).message
    with pytest.raises(Conflict, match="question"):
        store.decide(ask.id, Answer(decision="approve"))
    with pytest.raises(ValidationError, match="text"):
        store.decide(ask.id, Answer(decision="answer"))
    with pytest.raises(Conflict, match="waits for a decision"):
        store.resume(task_id)
    assert store.decide(ask.id, Answer(decision="answer", text="blue", by="ann")).state == "queued"
    with pytest.raises(Conflict, match="answered already"):
        store.decide(ask.id, Answer(decision="answer", text="red"))
    decided = store.approval(ask.id)
    assert (decided.state, decided.decided_by) == ("answered", "ann")
    with pytest.raises(NotFound):
        store.decide("appr_none", Answer(decision="approve"))
    with pytest.raises(NotFound):
        store.approval(ask.id, tenant="other")


def test_a_rejected_task_ends_with_what_there_is(store: Store) -> None:
    """Reject fails the task as rejected, keeps the partial result, and adds nothing to the budget."""
    claim = claimed(store, budget=Budget(max_llm_calls=1))
    wrote(store, claim, partial={"half": True})
    ask = NewApproval(kind="budget", question="More?", details={"limit": "max_llm_calls"})
    ended(store, claim, Change.PAUSE, Reason.BUDGET, "paused", approval=ask)
    got = store.decide(ask.id, Answer(decision="reject", add={"max_llm_calls": 5}, by="ann", comment="Too dear."))
    assert (got.state, got.reason, got.partial, got.budget.max_llm_calls) == ("failed", "rejected", {"half": True}, 1)
    assert types(store, claim.task_id)[-2:] == ["approval_decided", "task_failed"]


def test_escalating_keeps_the_question(store: Store) -> None:
    """A task that waits for an answer and is escalated can still be answered; any other state can be handed to a human too."""
    ask = _asked(store, "question", Reason.QUESTION, key="colour")
    got = store.escalate(store.approval(ask.id).task_id, by="ann", note="Legal should say.")
    assert got.approval is not None
    assert (got.reason, got.approval.kind, got.approval.question) == ("escalated", "escalated", "Well?")
    assert "answer" in got.actions
    assert "escalate" not in got.actions
    assert store.approval(ask.id).state == "expired"
    assert store.decide(got.approval.id, Answer(decision="answer", text="blue")).state == "queued"
    [claim] = store.claim(worker(store), ["autogpt"], 1)
    assert claim.answers == {"colour": "blue"}
    ended(store, claim, Change.FAIL, Reason.AGENT_ERROR)
    failed = store.escalate(claim.task_id, by="ann")
    assert failed.approval is not None
    assert store.decide(failed.approval.id, Answer(decision="reject")).reason == "rejected"


def _parked(store: Store) -> tuple[Claim, NewApproval]:
    claim, ask = claimed(store, budget=Budget(max_llm_calls=0)), NewApproval(kind="budget", question="More?")
    wrote(store, claim, park=Park(reason=Reason.BUDGET), approval=ask)
    return claim, ask


def test_a_parked_task_goes_on_in_the_same_attempt(store: Store) -> None:
    """Parked, the task is paused and may spend nothing but keeps its lease; approved, its worker is told and it runs on."""
    claim, ask = _parked(store)
    assert store.get(claim.task_id).state == "paused"
    [refused] = store.reserve([llm(claim, "a")])
    assert not refused
    assert refused.limit == "paused"  # type: ignore[union-attr]
    assert store.journal([entry(claim)])[0]
    assert store.decide(ask.id, Answer(decision="approve", add={"max_llm_calls": 1}, by="ann")).state == "running"
    assert _wishes(store, claim) == {"unpark": "ann", "update": ""}
    wrote(store, claim, unpark=True)
    assert store.get(claim.task_id).state == "running"
    assert store.reserve([llm(claim, "a")])[0]
    assert "unpark" not in _wishes(store, claim)
    assert store.get(claim.task_id).attempts[0].state == "running"


def test_a_parked_task_can_be_rejected_or_given_up(store: Store) -> None:
    """Rejected while parked, the worker is told and ends it; parked too long, the attempt ends and the question stays."""
    claim, ask = _parked(store)
    store.decide(ask.id, Answer(decision="reject", by="ann"))
    assert _wishes(store, claim) == {"reject": "ann"}
    ended(store, claim, Change.REJECT, Reason.REJECTED)
    assert store.get(claim.task_id).reason == "rejected"
    slow, question = _parked(store)
    ended(store, slow, None, Reason.BUDGET, "paused")
    got = store.get(slow.task_id)
    assert (got.state, got.attempts[0].state) == ("paused", "paused")
    assert store.decide(question.id, Answer(decision="approve", add={"max_llm_calls": 1})).state == "queued"


def test_an_approval_that_crosses_the_end_of_parking_is_not_lost(store: Store) -> None:
    """Approved just before the parked attempt is given up, the task is queued at once."""
    claim, ask = _parked(store)
    store.decide(ask.id, Answer(decision="approve", add={"max_llm_calls": 1}))
    ended(store, claim, None, Reason.BUDGET, "paused")
    assert store.get(claim.task_id).state == "queued"


def test_waiting_has_an_end(store: Store) -> None:
    """A task no worker takes within queue_s, or nobody decides within approval_s, fails as expired; the others are left alone."""
    claim = claimed(store, timeouts=Timeouts(approval_s=0.001))
    queued = submitted(store, timeouts=Timeouts(queue_s=0.001))
    ended(store, claim, Change.PAUSE, Reason.QUESTION, "paused")
    patient = submitted(store)
    expired = {}
    until(lambda: expired.update({e.task_id: e.waited_for for e in store.expire_waits()}) or len(expired) == 2)
    assert expired == {queued: "worker", claim.task_id: "human"}
    assert {store.get(task_id).reason for task_id in expired} == {"expired"}
    assert types(store, claim.task_id)[-2:] == ["approval_expired", "task_failed"]
    assert store.approvals().data == ()
    assert store.get(patient).state == "queued"
    assert store.expire_waits() == []


def test_longer_waits_can_be_given_while_waiting(store: Store) -> None:
    """Changing queue_s of a queued task moves its end."""
    task_id = submitted(store)
    store.update(task_id, timeouts={"queue_s": 0.001})
    assert until(store.expire_waits)[0].task_id == task_id
