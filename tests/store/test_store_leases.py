from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from staging import LONG_S, claimed, ended, entry, llm, submitted, types, until, worker, wrote
from tether.errors import Conflict
from tether.lifecycle import Change, Reason
from tether.store import Store, open_store
from tether.store.rows import Claim, NewApproval, NewCheckpoint, NewWorker, Park
from tether.task import Answer


def _expired(store: Store, worker_id: str) -> bool:
    return next(w.expired for w in store.workers() if w.id == worker_id)


def _holder(store: Store, claim: Claim) -> str:
    return next(w.id for w in store.workers(all_states=True) if claim.task_id in store.leases(w.id))


def test_a_heartbeat_renews_every_lease_of_the_worker(store: Store) -> None:
    """A beat moves the end of the lease; a worker that was late but not given up goes on and learns how late it was."""
    name = worker(store, lease_s=0.001)
    until(lambda: _expired(store, name))
    beat = store.heartbeat(name, lease_s=LONG_S)
    assert beat
    assert beat.outage_s > 0
    assert beat.lease_until_ms == beat.now_ms + LONG_S * 1000
    assert not _expired(store, name)
    assert not store.heartbeat("nobody", lease_s=1)


def test_a_worker_takes_a_new_id_each_start(store: Store) -> None:
    """An id is never used twice, so that an old process cannot renew a new one's leases."""
    new = NewWorker(id="w", host="h", boot_id="b", pid=1, start_time=1, slots=1, agents=("a",), facts={"walls": "enforced"})
    store.register_worker(new, lease_s=5)
    with pytest.raises(Conflict, match="new id"):
        store.register_worker(new, lease_s=5)
    [row] = store.workers()
    assert (row.agents, row.facts, row.state, row.leases) == (("a",), {"walls": "enforced"}, "live", 0)


def test_tasks_of_an_expired_worker_stand_in_line_again(store: Store) -> None:
    """Without a beat the task is queued as worker_lost, uses no attempt, is billed at the hold; its old token is worthless."""
    claim = claimed(store)
    name = _holder(store, claim)
    store.reserve([llm(claim, "a", hold=70, tokens=5)])
    store.heartbeat(name, lease_s=0.001)
    until(lambda: _expired(store, name))
    assert store.rescue(grace_s=3600) == []
    [rescued] = store.rescue(found_by="other")
    assert (rescued.task_id, rescued.worker_id, rescued.state, rescued.reason) == (claim.task_id, name, "queued", "worker_lost")
    got = store.get(claim.task_id)
    assert (got.state, got.attempts[0].state, got.attempts[0].reason) == ("queued", "failed", "worker_lost")
    assert (got.usage.nanousd, got.usage.held_nanousd) == (70, 0)
    assert types(store, claim.task_id)[1:] == ["attempt_lost", "task_requeued", "call_ended"]
    assert not store.heartbeat(name, lease_s=LONG_S)
    assert not store.journal([entry(claim)])[0]
    assert not store.reserve([llm(claim, "b")])[0]
    assert store.rescue() == []
    [again] = store.claim(worker(store), ["autogpt"], 1)
    assert (again.attempt, again.failures, again.losses, again.reason) == (2, 0, 1, "worker_lost")


def test_a_client_that_stands_still_in_a_transaction_keeps_no_rows(postgres_store_url: str) -> None:
    """The server does not end it, its last word being the end of a pipeline; the rescue does, and takes the task."""
    store = open_store(postgres_store_url)
    claim = claimed(store)
    store.retire_worker(_holder(store, claim))
    options = {"application_name": "tether", "options": "-c idle_in_transaction_session_timeout=1s"}
    with closing(psycopg.connect(postgres_store_url, **options)) as stalled:
        with stalled.pipeline():
            for _ in range(2):
                stalled.execute("UPDATE tasks SET last_seq = last_seq WHERE id = %s", [claim.task_id])
        assert store.rescue() == []
        assert [rescued.task_id for rescued in until(store.rescue)] == [claim.task_id]
        with pytest.raises(psycopg.OperationalError):
            stalled.execute("SELECT 1")
    store.close()


def test_known_dead_and_retired_workers_are_rescued_at_once(store: Store) -> None:
    """A process known to be gone, or one that retired, does not keep its tasks till the end of its lease; others keep theirs."""
    dead, retired, alive = claimed(store), claimed(store), claimed(store)
    store.retire_worker(_holder(store, retired))
    rescued = store.rescue(dead=[_holder(store, dead)])
    assert {r.task_id for r in rescued} == {dead.task_id, retired.task_id}
    assert store.journal([entry(alive)])[0]


def test_a_task_that_kills_its_workers_is_put_before_a_human(store: Store) -> None:
    """Three losses on one checkpoint quarantine the task; progress between them starts the count again."""
    task_id = submitted(store)

    def lose(*, progress: int = 0) -> str:
        [claim] = store.claim(worker(store), ["autogpt"], 1)
        if progress:
            wrote(store, claim, checkpoint=NewCheckpoint(number=progress, state={}))
        [rescued] = store.rescue(dead=[_holder(store, claim)])
        return rescued.state

    assert [lose(), lose(), lose(progress=1), lose(), lose()] == ["queued", "queued", "queued", "queued", "paused"]
    got = store.get(task_id)
    assert (got.reason, got.attempts[-1].reason) == ("escalated", "worker_lost")
    assert got.approval is not None
    assert got.approval.details["quarantine"] is True
    assert "died 3 times" in got.message
    assert store.decide(got.approval.id, Answer(decision="approve", by="ann")).state == "queued"


def test_a_wish_outlives_the_worker_that_should_have_done_it(store: Store) -> None:
    """A cancellation or pause asked of a lost worker's task is done by the rescue."""
    cancelled, paused = claimed(store), claimed(store)
    store.cancel(cancelled.task_id, by="ann")
    store.pause(paused.task_id, by="ann")
    store.rescue(dead=[_holder(store, cancelled), _holder(store, paused)])
    assert store.get(cancelled.task_id).state == "cancelled"
    got = store.get(paused.task_id)
    assert (got.state, got.reason) == ("paused", "operator")


def test_a_parked_task_of_a_lost_worker_keeps_its_question(store: Store) -> None:
    """Losing the worker of a parked task leaves it paused with its question; approved meanwhile, it is queued."""
    waiting, approved = claimed(store), claimed(store)
    asks = [NewApproval(kind="budget", question="More?"), NewApproval(kind="budget", question="More?")]
    for claim, ask in zip((waiting, approved), asks, strict=True):
        wrote(store, claim, park=Park(reason=Reason.BUDGET), approval=ask)
    store.decide(asks[1].id, Answer(decision="approve", add={"max_usd": 1}))
    store.rescue(dead=[_holder(store, waiting), _holder(store, approved)])
    assert store.get(waiting.task_id).state == "paused"
    assert store.get(approved.task_id).state == "queued"
    assert store.decide(asks[0].id, Answer(decision="approve", add={"max_usd": 1})).state == "queued"


def test_handing_back_frees_the_slot_without_using_an_attempt(store: Store) -> None:
    """A drained attempt is queued again at once with its failures as they were."""
    claim = claimed(store)
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR, message="The worker is shutting down.")
    [again] = store.claim(worker(store), ["autogpt"], 1)
    assert (again.failures, again.losses, again.reason) == (0, 0, "operator")
