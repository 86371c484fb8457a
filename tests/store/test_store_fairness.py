"""Fair claiming: tenants share, limits hold whoever claims, holds stop whole lines; on both databases."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from staging import claimed, ended, submitted, until, worker, wrote
from tether.lifecycle import Change, Reason
from tether.store import Store, open_store
from tether.store.rows import NewCheckpoint


def tenants_of(store: Store, n: int, **limits: object) -> Counter[str]:
    """The tenants of the next n claims of a new worker."""
    return Counter(claim.task.tenant for claim in store.claim(worker(store), ["autogpt"], n, **limits))  # type: ignore[arg-type]


def test_a_flood_of_one_tenant_starves_nobody(store: Store) -> None:
    """However many tasks one tenant has queued first, the others get their share of the next slots."""
    for tenant, number in (("flood", 30), ("small", 3), ("tiny", 1)):
        for _ in range(number):
            submitted(store, tenant=tenant)
    assert tenants_of(store, 6) == {"flood": 3, "small": 2, "tiny": 1}
    assert tenants_of(store, 4) == {"flood": 3, "small": 1}


def test_what_runs_already_counts(store: Store) -> None:
    """A tenant with many attempts at work waits until the others have as many."""
    for _ in range(6):
        submitted(store, tenant="early")
    assert tenants_of(store, 4) == {"early": 4}
    for _ in range(6):
        submitted(store, tenant="late")
    assert tenants_of(store, 4) == {"late": 4}


def test_priority_is_kept_within_and_across_tenants(store: Store) -> None:
    """Higher priorities first, whosever they are; a line that is used up is followed by its tenant's next priority."""
    for tenant, priority in (("a", 0), ("a", 5), ("b", 0), ("b", 3), ("a", 0)):
        submitted(store, tenant=tenant, priority=priority)
    got = [(c.task.tenant, c.task.priority) for c in store.claim(worker(store), ["autogpt"], 5)]
    assert got[:2] == [("a", 5), ("b", 3)]
    assert sorted(got[2:]) == [("a", 0), ("a", 0), ("b", 0)]


def test_limits_hold_over_all_workers(store: Store, url: str) -> None:
    """Whoever claims at the same time, an agent's and a tenant's limit is never passed; a finished attempt makes room."""
    for tenant in ("acme", "other"):
        for _ in range(20):
            submitted(store, tenant=tenant)
    limits = {"agent:autogpt": 7, "tenant:acme": 2, "tenant:*": 50}
    names = [worker(store) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        stores = [open_store(url) for _ in names]
        found = list(
            threads.map(lambda pair: pair[1].claim(pair[0], ["autogpt"], 5, limits=limits), zip(names, stores, strict=True))
        )
        for opened in stores:
            opened.close()
    claims = [claim for each in found for claim in each]
    assert Counter(claim.task.tenant for claim in claims) == {"acme": 2, "other": 5}
    acme = next(claim for claim in claims if claim.task.tenant == "acme")
    ended(store, acme, Change.FINISH, Reason.COMPLETED, "succeeded")
    assert sum(tenants_of(store, 5, limits=limits).values()) == 1


def test_a_worker_of_some_tenants_takes_only_theirs(store: Store) -> None:
    """`worker.tenants` keeps the rest for others."""
    submitted(store, tenant="a")
    submitted(store, tenant="b")
    assert tenants_of(store, 5, tenants=["b"]) == {"b": 1}


def test_a_hold_stops_a_line_and_lets_others_pass(store: Store) -> None:
    """Tasks of a held tenant, or of a held type of theirs, stay queued; everybody else goes on."""
    for tenant in ("a", "b"):
        for task_type in ("report", "chat"):
            submitted(store, tenant=tenant, task_type=task_type)
    store.hold(stop="claims", tenant="a")
    kind = store.hold(stop="claims", task_type="chat")
    assert [(c.task.tenant, c.task.task_type) for c in store.claim(worker(store), ["autogpt"], 9)] == [("b", "report")]
    store.release(kind.id)
    assert [(c.task.tenant, c.task.task_type) for c in store.claim(worker(store), ["autogpt"], 9)] == [("b", "chat")]


def test_start_at_puts_a_task_in_line_when_its_time_comes(store: Store) -> None:
    """Before start_at nobody claims or announces it; afterwards both happen without anyone touching it."""
    task_id = submitted(store, start_at=datetime.now(UTC) + timedelta(seconds=0.6))
    name = worker(store)
    assert store.claim(name, ["autogpt"], 1) == []
    assert store.take_wakes() == []
    assert [wake.task_id for wake in until(store.take_wakes)] == [task_id]
    assert [claim.task_id for claim in store.claim(name, ["autogpt"], 1)] == [task_id]


def test_a_newer_checkpoint_is_left_to_newer_workers(store: Store) -> None:
    """While two releases run side by side, a task goes back only to one that understands what it left; others pass it by."""
    claim = claimed(store)
    wrote(store, claim, checkpoint=NewCheckpoint(number=1, state={"n": 1}, release=2003))
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    other = submitted(store)
    assert [c.task_id for c in store.claim(worker(store), ["autogpt"], 5, release=2002)] == [other]
    assert [c.task_id for c in store.claim(worker(store), ["autogpt"], 5, release=2003)] == [claim.task_id]
