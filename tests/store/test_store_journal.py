from __future__ import annotations

from typing import Any

import pytest

from staging import claimed, ended, entry, submitted, types, worker, wrote
from tether.errors import Conflict, IllegalTransition, ValidationError
from tether.events import MASK, NewEvent
from tether.lifecycle import Change, Reason
from tether.store import Store
from tether.store.checkpoints import CHAIN
from tether.store.rows import Append, Ending, NewApproval, NewArtifact, NewCheckpoint, Started


def _log(text: str) -> NewEvent:
    return NewEvent(type="agent_log", attempt=1, step=2, data={"level": "info", "text": text})


def test_events_are_numbered_per_task_and_keep_their_order(store: Store) -> None:
    """seq counts from 1 without gaps, whatever batch an event came in."""
    a, b = claimed(store), claimed(store)
    store.journal([entry(a, events=(_log("1"), _log("2"))), entry(b, events=(_log("x"),)), entry(a, events=(_log("3"),))])
    assert types(store, a.task_id) == ["task_submitted", *["agent_log"] * 3]
    got = store.events(a.task_id, after=1)
    assert [(e.seq, e.step, e.data["text"]) for e in got] == [(2, 2, "1"), (3, 2, "2"), (4, 2, "3")]
    assert [e.seq for e in store.events(a.task_id, types=["task_submitted"])] == [1]


def test_only_the_holder_of_the_lease_writes(store: Store) -> None:
    """A stale token writes nothing, while others in the same batch are written."""
    stale, live = claimed(store), claimed(store)
    ended(store, stale, Change.REQUEUE, Reason.OPERATOR)
    answers = store.journal([entry(stale, events=(_log("late"),), partial=1), entry(live, events=(_log("in time"),))])
    assert [bool(answer) for answer in answers] == [False, True]
    assert "agent_log" not in types(store, stale.task_id)
    assert store.get(stale.task_id).partial is None


def test_an_unacceptable_entry_leaves_no_trace_and_harms_no_other(store: Store) -> None:
    """Illegal changes, wrong checkpoints and values that are not JSON are refused one by one, all or nothing."""
    claim, other = claimed(store), claimed(store)
    bad = [
        entry(claim, events=(_log("a"),), ending=Ending(change=Change.RESUME, reason=None, attempt_state="failed")),
        entry(claim, partial=1, ending=Ending(change=Change.FINISH, reason=Reason.BUDGET, attempt_state="succeeded")),
        entry(claim, events=(_log("b"),), checkpoint=NewCheckpoint(number=5, base=4, state={})),
        entry(claim, progress={"x": 1}, partial=float("nan")),
        entry(claim, unpark=True),
        entry(claim, ending=Ending(change=None, reason=None, attempt_state="paused")),
    ]
    answers = store.journal([entry(other, events=(_log("1"),)), *bad, entry(other, events=(_log("2"),))])
    assert [bool(answer) for answer in answers] == [True, *[False] * len(bad), True]
    problems = [type(answer.problem) for answer in answers[1:-1]]
    assert problems == [Conflict, IllegalTransition, Conflict, ValidationError, Conflict, Conflict]
    got = store.get(claim.task_id)
    assert (got.state, got.partial, got.progress) == ("running", None, {})
    assert types(store, claim.task_id) == ["task_submitted"]
    assert types(store, other.task_id) == ["task_submitted", "agent_log", "agent_log"]


def test_secrets_are_masked_before_they_are_stored(store: Store) -> None:
    """What looks like a credential never reaches the journal or an approval."""
    claim = claimed(store)
    wrote(store, claim, events=(_log("key sk-abcdefghijklmnopqrstuv"),))
    ask = NewApproval(kind="question", question="?", details={"api_key": "hush"})
    ended(store, claim, Change.PAUSE, Reason.QUESTION, "paused", approval=ask)
    assert store.events(claim.task_id)[1].data["text"] == f"key {MASK}"
    assert store.approval(ask.id).details == {"api_key": MASK}


def test_large_data_comes_back_whole(store: Store) -> None:
    """A megabyte of state or event data is stored compressed and read back unchanged."""
    claim = claimed(store)
    text = "önd " * 250_000
    wrote(store, claim, events=(_log(text),), checkpoint=NewCheckpoint(number=1, state={"text": text}))
    assert store.events(claim.task_id)[1].data["text"] == text
    saved = store.checkpoint(claim.task_id)
    assert saved is not None
    assert saved.state == {"text": text}
    assert store.events(claim.task_id, types=["checkpoint_saved"])[0].data["bytes"] < 100_000


def test_partial_progress_files_and_figures_are_shown(store: Store) -> None:
    """What an attempt reports is in the task's document at once."""
    claim = claimed(store)
    file = NewArtifact(name="report.md", size_bytes=3, sha256="ab", url="file:///report.md")
    wrote(store, claim, started=Started(isolation={"files": "enforced"}, agent_version="v7"), progress={"step": 1}, active_s=1.5)
    wrote(store, claim, partial=[1], artifacts=(file,), add_steps=2, add_tool_calls=3, web_counting="connections", active_s=0.5)
    got = store.get(claim.task_id)
    assert (got.partial, got.progress, got.agent_version) == ([1], {"step": 1}, "v7")
    assert (got.usage.steps, got.usage.tool_calls, got.usage.web_counting) == (2, 3, "connections")
    assert got.attempts[0].isolation == {"files": "enforced"}
    assert [a["name"] for a in got.artifacts] == ["report.md"]
    assert store.artifacts(claim.task_id) == [file]
    assert types(store, claim.task_id)[1:] == ["partial_saved", "artifact_saved"]


@pytest.mark.parametrize(
    ("change", "reason", "attempt", "state", "last"),
    [
        (Change.FINISH, Reason.COMPLETED, "succeeded", "succeeded", "task_succeeded"),
        (Change.FAIL, Reason.TASK_TIMEOUT, "failed", "failed", "task_failed"),
        (Change.REQUEUE, Reason.AGENT_ERROR, "failed", "queued", "task_requeued"),
        (Change.PAUSE, Reason.BUDGET, "paused", "paused", "task_paused"),
        (Change.PAUSE, Reason.OPERATOR, "paused", "paused", "task_paused"),
        (Change.ESCALATE, Reason.ESCALATED, "paused", "paused", "task_paused"),
        (Change.CANCEL, Reason.CANCELLED, "cancelled", "cancelled", "task_cancelled"),
    ],
)
def test_every_ending_closes_all_that_belongs_to_it(
    store: Store, change: Change, reason: Reason, attempt: str, state: str, last: str
) -> None:
    """After any ending the attempt is closed, the lease free, state and event written, a human asked where one must be."""
    claim = claimed(store)
    written = ended(store, claim, change, reason, attempt, message="In plain words.", result={"r": 1})
    got = store.get(claim.task_id)
    assert (written.state, got.state, got.reason, got.result) == (state, state, str(reason), {"r": 1})
    assert (got.attempts[0].state, got.attempts[0].ended_at_ms is None) == (attempt, False)
    assert "In plain words." in got.message
    assert types(store, claim.task_id)[-1] == last
    assert (got.approval is not None) == (state == "paused" and reason is not Reason.OPERATOR)
    assert (got.ended_at_ms is not None) == (state in ("succeeded", "failed", "cancelled"))
    assert store.leases(store.workers()[0].id) == {}
    assert not store.journal([entry(claim)])[0]


def test_a_final_task_has_no_open_question(store: Store) -> None:
    """A question that nobody decided is closed with its task."""
    claim = claimed(store)
    ended(store, claim, Change.PAUSE, Reason.STUCK, "paused")
    assert store.approvals().data[0].task_id == claim.task_id
    store.cancel(claim.task_id, by="ann")
    assert store.approvals().data == ()
    assert store.get(claim.task_id).approval is None


def test_a_long_chain_of_deltas_stays_short_in_the_store(store: Store) -> None:
    """The state is what applying all deltas gives; old rows go, the last two states stay."""
    claim = claimed(store)
    state: dict[str, Any] = {"messages": [], "n": 0}
    wrote(store, claim, checkpoint=NewCheckpoint(number=1, state=state, step=0))
    for number in range(2, 3 * CHAIN):
        delta = {"append": {"messages": [f"m{number}"]}, "set": {"n": number}}
        state = {"messages": [*state["messages"], f"m{number}"], "n": number}
        wrote(store, claim, checkpoint=NewCheckpoint(number=number, base=number - 1, state=delta, step=number))
        for back in (number, number - 1):
            saved = store.checkpoint(claim.task_id, back)
            assert saved is not None
            assert saved.state["n"] == (back if back > 1 else 0)
        newest = store.checkpoint(claim.task_id)
        assert newest is not None
        assert (newest.number, newest.step, newest.state) == (number, number, state)
    assert store.checkpoint(claim.task_id, 1) is None
    kinds = [e.data["kind"] for e in store.events(claim.task_id, types=["checkpoint_saved"])]
    assert kinds.count("base") == 3


def test_a_chain_in_one_batch_folds_too(store: Store) -> None:
    """Deltas that arrive together compose as if they had come one by one."""
    claim = claimed(store)
    entries = [entry(claim, checkpoint=NewCheckpoint(number=1, state={"l": [1]}))]
    for number in range(2, 50):
        new = NewCheckpoint(number=number, base=number - 1, state={"append": {"l": [number]}})
        entries.append(entry(claim, checkpoint=new))
    assert all(store.journal(entries))
    saved = store.checkpoint(claim.task_id)
    assert saved is not None
    assert saved.state == {"l": list(range(1, 50))}


def test_a_delta_that_does_not_fit_loses_only_itself(store: Store) -> None:
    """A delta that cannot be applied never costs the states before it."""
    claim = claimed(store)
    wrote(store, claim, checkpoint=NewCheckpoint(number=1, state={"l": 1}))
    wrote(store, claim, checkpoint=NewCheckpoint(number=2, base=1, state={"append": {"l": [2]}}))
    saved = store.checkpoint(claim.task_id)
    assert saved is not None
    assert (saved.number, saved.state) == (1, {"l": 1})
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    [again] = store.claim(worker(store), ["autogpt"], 1)
    assert again.checkpoint is not None
    assert again.checkpoint.number == 1
    wrote(store, again, checkpoint=NewCheckpoint(number=3, state={"l": [3]}))
    [answer] = store.journal([entry(again, checkpoint=NewCheckpoint(number=4, base=3, state={"append": ["x"]}))])
    assert isinstance(answer.problem, ValidationError)


def test_dumps_of_a_lost_attempt_are_still_taken(store: Store) -> None:
    """Events without a lease are appended and change no state; an attempt's dump is found by its number."""
    claim = claimed(store)
    ended(store, claim, Change.REQUEUE, Reason.STEP_TIMEOUT, message="Too slow.")
    dump = NewEvent(type="state_dumped", attempt=1, data={"trigger": "step_timeout", "stacks": "File …"})
    assert store.append([Append(task_id=claim.task_id, events=(dump,)), Append(task_id="task_none", events=(dump,))]) == [
        True,
        False,
    ]
    inside = store.attempt_state(claim.task_id, 1)
    assert inside.dump is not None
    assert inside.dump["stacks"] == "File …"
    assert store.get(claim.task_id).state == "queued"


def test_a_change_of_state_always_has_its_event(store: Store) -> None:
    """Submitting, pausing, resuming, cancelling and retrying each leave exactly one event that says so."""
    task_id = submitted(store)
    store.pause(task_id, by="ann")
    store.resume(task_id, by="ann")
    store.cancel(task_id, by="ann")
    store.retry(task_id, by="ann")
    assert types(store, task_id) == ["task_submitted", "task_paused", "task_resumed", "task_cancelled", "task_retried"]
