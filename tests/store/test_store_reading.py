from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from staging import claimed, ended, submitted, types, until, wrote
from tether.errors import Conflict, NotFound, ValidationError
from tether.events import NewEvent
from tether.lifecycle import Change, Reason
from tether.store import Store, open_store
from tether.store.rows import Append, NewCheckpoint, NewTask, TaskFilter
from tether.task import Budget, Task, TaskDocument, Timeouts


def _walk(store: Store, where: TaskFilter | None = None, limit: int = 3) -> Iterator[TaskDocument]:
    cursor = None
    while True:
        page = store.tasks(where, limit=limit, cursor=cursor)
        yield from page.data
        cursor = page.next_cursor
        if cursor is None:
            return


def test_pages_show_every_task_once_newest_first(store: Store) -> None:
    """Walking a list by its cursor gives each task once, also while new ones arrive; a made-up cursor is refused."""
    ids = store.submit_many([NewTask(task=Task(goal=f"{n}"), budget=Budget(), timeouts=Timeouts()) for n in range(10)])
    walk = _walk(store)
    seen = [task.id for task in itertools.islice(walk, 2)]
    submitted(store)
    seen += [task.id for task in walk]
    assert seen == sorted(ids, reverse=True)
    with pytest.raises(ValidationError, match="cursor"):
        store.tasks(cursor="'; DROP TABLE tasks")


def test_lists_are_filtered_by_every_label(store: Store) -> None:
    """Each filter finds what it names, and filters together find what matches all."""
    plain = submitted(store)
    other = submitted(store, agent="mine", task_type="report", user="ann", tenant="acme", tags=("a", "b"))
    store.cancel(plain)
    created = store.get(other).created_at_ms
    filters = [
        {"agent": "mine"},
        {"task_type": "report"},
        {"user": "ann"},
        {"tenant": "acme"},
        {"tag": "b"},
        {"states": ("queued", "running")},
        {"tag": "a", "tenant": "acme", "created_from_ms": created, "created_to_ms": created + 1},
    ]
    for fields in filters:
        assert [task.id for task in store.tasks(TaskFilter(**fields)).data] == [other], fields  # type: ignore[arg-type]
    assert [task.id for task in store.tasks(TaskFilter(reasons=("cancelled",))).data] == [plain]
    assert store.tasks(TaskFilter(created_to_ms=store.get(plain).created_at_ms)).data == ()
    assert store.counts() == {"queued": 1, "cancelled": 1}
    assert store.counts(tenant="acme") == {"queued": 1}
    assert store.states([plain, other, "task_none"]) == {plain: ("cancelled", "cancelled"), other: ("queued", None)}


def test_the_tail_gives_every_event_of_all_tasks_once(store: Store) -> None:
    """Following the tail from its beginning, or from now, gives each event once; one tenant sees its own."""
    first = submitted(store)
    now = store.tail()
    assert now.events == ()
    second = submitted(store, tenant="acme")
    store.cancel(second)
    until(lambda: len(store.tail(now.cursor).events) == 2)
    assert [(e.task_id, e.type) for e in store.tail(now.cursor).events] == [
        (second, "task_submitted"),
        (second, "task_cancelled"),
    ]
    cursor, seen = "", list[tuple[str, int]]()
    while (got := store.tail(cursor, limit=1)).events:
        seen += [(e.task_id, e.seq) for e in got.events]
        cursor = got.cursor
    assert seen == [(first, 1), (second, 1), (second, 2)]
    assert store.tail(cursor).cursor == cursor
    assert {e.task_id for e in store.tail("", tenant="acme").events} == {second}
    with pytest.raises(ValidationError, match="cursor"):
        store.tail("yesterday")


def test_the_tail_misses_nothing_that_commits_late(postgres_store_url: str) -> None:
    """An event whose transaction began first and commits last is not skipped (sequences are not in the order of commits)."""
    store = open_store(postgres_store_url)
    task_id = submitted(store)
    start = store.tail("").cursor
    slow = submitted(store)
    until(lambda: len(store.tail(start).events) == 1)
    start = store.tail(start).cursor
    with psycopg.connect(postgres_store_url) as late:
        insert = "INSERT INTO events (task_id, seq, type, at_ms, data) VALUES (%s, 99, 'agent_log', 0, '{}')"
        late.execute(insert, [slow])
        store.append([Append(task_id=task_id, events=(NewEvent(type="agent_log", data={"text": "fast"}),))])
        seen = store.tail(start)
        assert seen.events == (), "nothing may pass the transaction that is still open"
        late.commit()
    until(lambda: len(store.tail(seen.cursor).events) == 2)
    assert {(e.task_id, e.seq) for e in store.tail(seen.cursor).events} == {(slow, 99), (task_id, 2)}
    store.close()


def test_questions_are_listed_by_state_task_and_tenant(store: Store) -> None:
    """Open questions come first by default, page by page; another tenant sees none of them."""
    ids = []
    for _ in range(3):
        claim = claimed(store)
        ended(store, claim, Change.PAUSE, Reason.STUCK, "paused")
        ids.append(claim.task_id)
    first = store.approvals(limit=2)
    rest = store.approvals(limit=2, cursor=first.next_cursor)
    assert [a.task_id for a in (*first.data, *rest.data)] == ids[::-1]
    assert rest.next_cursor is None
    assert store.approvals(tenant="other").data == ()
    assert [a.task_id for a in store.approvals(state=None, task_id=ids[0]).data] == [ids[0]]


def test_the_state_of_an_attempt_can_be_asked_for(store: Store) -> None:
    """Without an attempt, or for one that was not made, the answer says so; with a checkpoint it is shown composed."""
    task_id = submitted(store)
    with pytest.raises(NotFound, match="no attempt was made yet"):
        store.attempt_state(task_id)
    store.cancel(task_id)
    claim = claimed(store)
    wrote(store, claim, checkpoint=NewCheckpoint(number=1, state={"n": 1}))
    state = store.attempt_state(claim.task_id)
    assert (state.attempt, state.checkpoint is not None, state.dump) == (1, True, None)
    with pytest.raises(NotFound, match="there are 1"):
        store.attempt_state(claim.task_id, 7)


def test_a_running_task_is_not_erased_and_an_erased_one_keeps_its_figures(store: Store) -> None:
    """Erasing removes goal, results, labels and words, keeps counts and times, and cannot be undone by a retry."""
    claim = claimed(store, goal="secret goal", user="ann", tags=("x",))
    wrote(store, claim, events=(NewEvent(type="agent_log", data={"text": "secret"}),), partial="secret", add_steps=4)
    with pytest.raises(Conflict, match="cancel it first"):
        store.erase(claim.task_id)
    ended(store, claim, Change.FAIL, Reason.AGENT_ERROR, message="secret", result="secret")
    store.erase(claim.task_id)
    got = store.get(claim.task_id)
    assert (got.goal, got.user, got.partial, got.result, got.tags, got.usage.steps) == ("", None, None, None, (), 4)
    words = str([dict(e.data) for e in store.events(claim.task_id)]) + str(got.document())
    assert "secret" not in words
    assert types(store, claim.task_id)[-1] == "task_failed"
    with pytest.raises(Conflict, match="erased"):
        store.retry(claim.task_id)


def test_old_tasks_are_pruned_and_living_ones_are_not(store: Store) -> None:
    """Pruning deletes what ended long enough ago, with all its rows, and nothing else."""
    old, living = submitted(store), submitted(store)
    store.cancel(old)
    assert store.prune(3600) == 0
    until(lambda: store.prune(0.0) == 1)
    with pytest.raises(NotFound):
        store.get(old)
    assert store.get(living).state == "queued"
    assert {e.task_id for e in until(lambda: store.tail("").events)} == {living}
