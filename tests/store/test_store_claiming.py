from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from staging import LONG_S, claimed, ended, entry, submitted, types, until, worker, wrote
from tether.errors import ValidationError
from tether.events import NewEvent
from tether.lifecycle import Change, Reason
from tether.store import Store, open_store
from tether.store.rows import NewApproval, NewCheckpoint, NewTask
from tether.task import Answer, Budget, Task, Timeouts


def test_highest_priority_first_then_oldest(store: Store) -> None:
    """Claims follow priority, then age, over all agents a worker has, and leave other agents' tasks alone."""
    low = submitted(store, priority=-1)
    first = submitted(store)
    other = submitted(store, agent="mine")
    second = submitted(store)
    urgent = submitted(store, agent="mine", priority=9)
    foreign = submitted(store, agent="foreign", priority=100)
    name = worker(store)
    got = [claim.task_id for claim in store.claim(name, ["mine", "autogpt"], 3)]
    assert got == [urgent, first, other]
    assert [claim.task_id for claim in store.claim(name, ["mine", "autogpt"], 9)] == [second, low]
    assert store.claim(name, ["mine", "autogpt"], 9) == []
    assert store.get(foreign).state == "queued"


def test_a_claim_has_all_an_attempt_needs(store: Store) -> None:
    """The claim carries the task, its limits and a random token; the task runs, its budget is open for that token only."""
    claim = claimed(store, goal="Fly", budget=Budget(max_llm_calls=3), timeouts=Timeouts(step_s=9), max_attempts=2)
    assert (claim.attempt, claim.task.goal, claim.task.max_attempts) == (1, "Fly", 2)
    assert (claim.budget.max_llm_calls, claim.timeouts.step_s, claim.reason, claim.checkpoint) == (3, 9, None, None)
    assert len(claim.lease_token) > 20
    got = store.get(claim.task_id)
    assert (got.state, [a.state for a in got.attempts]) == ("running", ["running"])
    assert types(store, claim.task_id) == ["task_submitted"]


def test_a_second_attempt_knows_the_first(store: Store) -> None:
    """The next claim brings checkpoint, partial result, figures, answers, and tools run since the checkpoint."""
    first = claimed(store)
    tool = {"call_id": "t0", "name": "read", "args": {}}
    before = (
        NewEvent(type="tool_started", attempt=1, data=tool),
        NewEvent(type="tool_ended", data={**_end("t0", "ok"), "result": 1}),
    )
    wrote(store, first, events=before, checkpoint=NewCheckpoint(number=1, state={"m": ["a"]}, step=1, agent_version="v1"))
    after = (
        NewEvent(type="tool_started", data={**tool, "call_id": "t1", "args": {"path": "x"}}),
        NewEvent(type="tool_ended", data={**_end("t1", "ok"), "result": "text"}),
        NewEvent(type="tool_started", data={**tool, "call_id": "t2"}),
        NewEvent(type="tool_started", data={**tool, "call_id": "seen", "inferred": True}),
    )
    wrote(store, first, events=after, partial={"so": "far"}, active_s=2.5)
    question = NewApproval(kind="question", question="Which?", key="colour")
    ended(store, first, Change.PAUSE, Reason.QUESTION, "paused", approval=question)
    store.decide(question.id, Answer(decision="answer", text="blue", by="ann"))
    [second] = store.claim(worker(store), ["autogpt"], 1)
    assert (second.attempt, second.active_s, second.partial, second.answers) == (2, 2.5, {"so": "far"}, {"colour": "blue"})
    assert second.checkpoint is not None
    assert (second.checkpoint.number, second.checkpoint.state, second.checkpoint.agent_version) == (1, {"m": ["a"]}, "v1")
    assert {key: (t.outcome, t.args, t.result) for key, t in second.tools.items()} == {
        "t1": ("ok", {"path": "x"}, "text"),
        "t2": ("outcome_unknown", {}, None),
    }
    assert second.approval is not None
    assert second.approval.decided_by == "ann"
    assert second.lease_token != first.lease_token
    assert not store.journal([entry(first)])[0]


def _end(call_id: str, outcome: str) -> dict[str, object]:
    return {"call_id": call_id, "name": "read", "outcome": outcome}


def test_a_task_that_failed_once_is_not_claimed_before_its_back_off(store: Store) -> None:
    """A requeued task waits out its delay, then comes back with the reason of its last ending."""
    claim = claimed(store)
    ended(store, claim, Change.REQUEUE, Reason.STEP_TIMEOUT, consumes_attempt=True, not_before_delay_s=2.0)
    name = worker(store)
    assert store.claim(name, ["autogpt"], 1) == []
    assert "1 of 3 attempts" in store.get(claim.task_id).message
    [again] = until(lambda: store.claim(name, ["autogpt"], 1))
    assert (again.reason, again.failures) == ("step_timeout", 1)


def test_a_worker_that_is_not_live_gets_nothing(store: Store) -> None:
    """Unknown, draining, retired and expired workers claim nothing."""
    submitted(store)
    draining, retired, late = worker(store), worker(store), worker(store, lease_s=0.001)
    store.heartbeat(draining, lease_s=LONG_S, state="draining")
    store.retire_worker(retired)
    until(lambda: next(w for w in store.workers() if w.id == late).expired)
    for name in ("nobody", draining, retired, late):
        assert store.claim(name, ["autogpt"], 1) == []
    assert len(store.claim(worker(store), ["autogpt"], 1)) == 1


def test_no_task_is_claimed_twice(url: str) -> None:
    """Many workers at once, each with its own connections: every task goes to exactly one of them."""
    store = open_store(url)
    ids = store.submit_many([NewTask(task=Task(goal="x"), budget=Budget(), timeouts=Timeouts()) for _ in range(60)])
    names = [worker(store) for _ in range(6)]

    def take(name: str) -> list[str]:
        own = open_store(url)
        taken: list[str] = []
        while batch := own.claim(name, ["autogpt"], 4):
            taken += [claim.task_id for claim in batch]
        own.close()
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [task_id for part in pool.map(take, names) for task_id in part]
    assert sorted(taken) == sorted(ids)
    store.close()


def test_held_tasks_are_left_and_released_ones_taken(store: Store) -> None:
    """A hold keeps what matches it in the queue until it is released; a hold of calls does not."""
    held, free = submitted(store, task_type="report"), submitted(store)
    hold = store.hold(stop="claims", task_type="report", note="cost review", by="op")
    store.hold(stop="calls", model="model-a")
    name = worker(store)
    assert [claim.task_id for claim in store.claim(name, ["autogpt"], 5)] == [free]
    store.release(hold.id)
    assert [claim.task_id for claim in store.claim(name, ["autogpt"], 5)] == [held]
    assert [h.stop for h in store.holds()] == ["calls"]
    with pytest.raises(ValidationError, match="stop"):
        store.hold(stop="everything")


def test_waking_up_workers_goes_through_an_outbox(store: Store) -> None:
    """Each time a task may start it is announced once; one that was claimed meanwhile is not."""
    task_id = submitted(store)
    assert [(wake.task_id, wake.agent) for wake in store.take_wakes()] == [(task_id, "autogpt")]
    assert store.take_wakes() == [], "given to one caller only"
    store.wake_again([task_id])
    assert store.take_wakes(older_than_s=60) == []
    assert len(store.take_wakes()) == 1, "what could not be announced waits again"
    [claim] = store.claim(worker(store), ["autogpt"], 1)
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    assert [wake.task_id for wake in store.take_wakes()] == [task_id]
    store.wake_again([task_id])
    store.claim(worker(store), ["autogpt"], 1)
    assert store.take_wakes() == []
