from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from staging import submitted, types, worker
from tether.errors import IdempotencyConflict, NotFound
from tether.store import Store
from tether.store.rows import NewTask
from tether.task import Budget, Task, Timeouts


def test_a_task_comes_back_as_it_was_submitted(store: Store) -> None:
    """What was submitted is what is shown: goal, input, labels, limits; queued, with its first event."""
    budget, timeouts = Budget(max_llm_calls=7, max_usd=1.25), Timeouts(step_s=3)
    fields = {"input": {"ü": [1, None]}, "tags": ("x", "y"), "metadata": {"k": "v"}, "user": "ann", "priority": 3}
    task_id = submitted(store, budget=budget, timeouts=timeouts, **fields)
    got = store.get(task_id)
    assert (got.state, got.reason, got.goal, got.input) == ("queued", None, "Count the stars", {"ü": [1, None]})
    assert (got.tags, got.metadata, got.user, got.priority) == (("x", "y"), {"k": "v"}, "ann", 3)
    assert (got.budget, got.timeouts, got.usage.nanousd) == (budget, timeouts, 0)
    assert "free worker" in got.message
    assert types(store, task_id) == ["task_submitted"]
    assert got.document()["created_at"].endswith("Z")


def test_names_sort_by_time_also_within_a_batch(store: Store) -> None:
    """Ids sort in the order of submission, so that they are the cursor of every list."""
    first = submitted(store)
    new = [NewTask(task=Task(goal=f"goal {n}"), budget=Budget(), timeouts=Timeouts()) for n in range(50)]
    batch = store.submit_many(new)
    assert [first, *batch] == sorted([first, *batch])
    assert all(len(name) == len("task_") + 26 for name in batch)
    assert store.get(batch[17]).goal == "goal 17"


def test_the_same_key_submits_once(store: Store) -> None:
    """The same idempotency key and content gives the first id, whatever happened to that task since."""
    first = submitted(store, idempotency_key="k1")
    assert submitted(store, idempotency_key="k1") == first
    store.cancel(first)
    assert submitted(store, idempotency_key="k1") == first
    assert submitted(store, idempotency_key="k1", tenant="other") != first
    assert types(store, first) == ["task_submitted", "task_cancelled"]


def test_the_same_key_with_other_content_is_refused(store: Store) -> None:
    """Another content under a used key is a conflict, and a batch with one stores nothing at all."""
    first = submitted(store, idempotency_key="k1")
    with pytest.raises(IdempotencyConflict, match=first):
        submitted(store, idempotency_key="k1", goal="Something else")
    fresh = NewTask(task=Task(goal="fresh"), budget=Budget(), timeouts=Timeouts())
    clash = NewTask(task=Task(goal="clash", idempotency_key="k1"), budget=Budget(), timeouts=Timeouts())
    with pytest.raises(IdempotencyConflict):
        store.submit_many([fresh, clash])
    assert store.counts() == {"queued": 1}


def test_a_task_for_later_waits_and_then_stands_in_line(store: Store) -> None:
    """A task with start_at is not claimed before, its queue_s does not run before, and it says when it starts."""
    later = submitted(store, start_at=datetime.now(UTC) + timedelta(hours=1), timeouts=Timeouts(queue_s=0.001))
    soon = submitted(store, start_at=datetime.now(UTC) - timedelta(hours=1))
    assert [claim.task_id for claim in store.claim(worker(store), ["autogpt"], 5)] == [soon]
    assert store.expire_waits() == []
    assert "starts at" in store.get(later).message


def test_text_that_databases_dislike_is_kept_or_made_harmless(store: Store) -> None:
    """NUL and lone surrogates in an agent's or a human's words never fail a write."""
    task_id = submitted(store, input={"text": "nul \u0000 in JSON"})
    assert store.get(task_id).input == {"text": "nul \u0000 in JSON"}
    assert store.pause(task_id, by="a\0b", note="why\0 \ud800not").message.startswith("Paused. why")


def test_unknown_tasks_and_other_tenants_do_not_exist(store: Store) -> None:
    """Every read and write of one tenant says not found for another's task."""
    mine = submitted(store, tenant="mine")
    assert store.get(mine, tenant="mine").tenant == "mine"
    for call in (store.get, store.events, store.usage, store.checkpoint, store.attempt_state, store.artifacts, store.revision):
        with pytest.raises(NotFound):
            call(mine, tenant="other")
    for call in (store.pause, store.cancel, store.resume, store.retry, store.escalate, store.update, store.erase):
        with pytest.raises(NotFound):
            call(mine, tenant="other")
    with pytest.raises(NotFound, match="task_nope"):
        store.get("task_nope")
