from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from staging import claimed, ended, entry, llm, settle, types, worker, wrote
from tether.errors import ValidationError
from tether.events import NewEvent
from tether.lifecycle import Change, Reason
from tether.store import Store
from tether.store.rows import Claim, Ending, NewApproval, Refused, Reserve, Reserved
from tether.task import Answer, Budget


def _asked(claim: Claim, kind: str, call_id: str = "", **fields: int) -> Reserve:
    given = {"task_id": claim.task_id, "lease_token": claim.lease_token, "attempt": claim.attempt}
    return Reserve(kind=kind, call_id=call_id, **given, **fields)  # type: ignore[arg-type]


def _refused(answer: Reserved | Refused) -> Refused:
    assert isinstance(answer, Refused)
    return answer


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("llm", "max_llm_calls"), ("web", "max_web_requests"), ("tool", "max_tool_calls"), ("step", "max_steps")],
)
def test_each_count_is_granted_exactly_to_its_limit(store: Store, kind: str, limit: str) -> None:
    """Of each kind exactly the limit is granted, in one batch or many; the refusal names the limit; zero means none."""
    claim = claimed(store, budget=Budget(**{limit: 3}))
    answers = store.reserve([_asked(claim, kind, f"c{n}" if kind != "step" else "") for n in range(5)])
    assert [bool(answer) for answer in answers] == [True, True, True, False, False]
    refused = _refused(answers[3])
    assert (refused.limit, refused.used, refused.allowed) == (limit, 3, 3)
    none = claimed(store, budget=Budget(**{limit: 0}))
    assert _refused(store.reserve([_asked(none, kind, "c")])[0]).limit == limit


def test_money_and_tokens_are_held_then_settled(store: Store) -> None:
    """What is held counts against the limit; settling gives back what was not used; a refusal says what would still fit."""
    claim = claimed(store, budget=Budget(max_usd=1, max_tokens=1000))
    usd = 10**9
    first = store.reserve([llm(claim, "a", hold=usd * 6 // 10, tokens=600)])[0]
    assert isinstance(first, Reserved)
    refused = _refused(store.reserve([llm(claim, "b", hold=usd // 2, tokens=1)])[0])
    assert (refused.limit, refused.used, refused.allowed, refused.left_nanousd, refused.left_tokens) == (
        "max_usd",
        usd * 6 // 10,
        usd,
        usd * 4 // 10,
        400,
    )
    assert _refused(store.reserve([llm(claim, "b", tokens=401)])[0]).limit == "max_tokens"
    [settled] = store.settle([settle(claim, "a", usd // 10, input_tokens=10, output_tokens=20)])
    assert settled.fresh
    counters = store.counters(claim.task_id)
    assert (counters.nanousd, counters.held_nanousd, counters.tokens, counters.held_tokens) == (usd // 10, 0, 30, 0)
    assert store.reserve([llm(claim, "b", hold=usd // 2, tokens=1)])[0]
    assert counters.left()["max_usd"] == pytest.approx(0.9)


def test_settling_twice_changes_nothing(store: Store) -> None:
    """Settling is idempotent by call: counters and events are written once, an unknown call is no error."""
    claim = claimed(store)
    store.reserve([llm(claim, "a", hold=100, tokens=10)])
    done = NewEvent(type="call_ended", attempt=1, data={"call_id": "a", "outcome": "ok"})
    again = [settle(claim, "a", 40, input_tokens=1, event=done)] * 2
    assert [answer.fresh for answer in store.settle(again)] == [True, False]
    assert [answer.fresh for answer in store.settle([again[0], settle(claim, "never", 5)])] == [False, False]
    assert store.counters(claim.task_id).nanousd == 40
    assert types(store, claim.task_id) == ["task_submitted", "call_ended"]


def test_reserving_twice_counts_once(store: Store) -> None:
    """A repeated reservation (the answer was lost) is granted without counting again; another lease cannot use its id."""
    claim = claimed(store)
    first, second = store.reserve([llm(claim, "a", hold=100)] * 2)
    assert isinstance(first, Reserved)
    assert isinstance(second, Reserved)
    assert (first.repeated, second.repeated) == (False, True)
    assert store.counters(claim.task_id).llm_calls == 1
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    [next_claim] = store.claim(worker(store), ["autogpt"], 1)
    assert _refused(store.reserve([llm(next_claim, "a")])[0]).limit == "call_id"


def test_a_stale_lease_spends_nothing_but_still_settles(store: Store) -> None:
    """After the lease is gone nothing is granted, while calls in flight are billed with their event."""
    claim = claimed(store)
    store.reserve([llm(claim, "a", hold=100, tokens=7)])
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    assert _refused(store.reserve([llm(claim, "b")])[0]).limit == "lease"
    done = NewEvent(type="call_ended", attempt=1, data={"call_id": "a"})
    assert store.settle([settle(claim, "a", event=done)])[0].fresh
    counters = store.counters(claim.task_id)
    assert (counters.nanousd, counters.held_nanousd, counters.tokens) == (100, 0, 7)
    assert types(store, claim.task_id)[-1] == "call_ended"


def test_a_call_that_never_left_is_not_counted(store: Store) -> None:
    """A reserved call that was never sent gives back its count, its money and its tokens."""
    claim = claimed(store, budget=Budget(max_llm_calls=1))
    store.reserve([llm(claim, "a", hold=100, tokens=10)])
    store.settle([settle(claim, "a", 0, outcome="unknown", dispatched=False)])
    counters = store.counters(claim.task_id)
    assert (counters.llm_calls, counters.nanousd, counters.tokens, counters.held_tokens) == (0, 0, 0, 0)
    assert store.reserve([llm(claim, "b")])[0]


def test_orphans_are_settled_at_their_hold(store: Store) -> None:
    """Calls whose gateway died are billed at the hold, once, with the event of their kind."""
    claim = claimed(store)
    store.reserve([llm(claim, "a", hold=30, tokens=3), _asked(claim, "web", "w", hold_nanousd=5), _asked(claim, "tool", "t")])
    assert store.settle_orphans(lease_tokens=[claim.lease_token]) == 3
    assert store.settle_orphans(lease_tokens=[claim.lease_token]) == 0
    counters = store.counters(claim.task_id)
    assert (counters.nanousd, counters.held_nanousd, counters.tokens) == (35, 0, 3)
    assert sorted(types(store, claim.task_id)[1:]) == ["call_ended", "web_request"]
    store.reserve([llm(claim, "late", hold=1)])
    assert store.settle_orphans(older_than_s=0) == 0
    ended(store, claim, Change.REQUEUE, Reason.OPERATOR)
    assert store.settle_orphans(older_than_s=-1) == 1


def test_eighty_percent_is_told_once_per_limit(store: Store) -> None:
    """The warning comes when 80 % is really used, once, and again only after the limit was raised and neared anew."""
    claim = claimed(store, budget=Budget(max_llm_calls=5, max_usd=1))
    for n in range(5):
        store.reserve([llm(claim, f"c{n}", hold=190_000_000)])
    warnings = store.events(claim.task_id, types=["budget_warning"])
    assert [dict(e.data) for e in warnings] == [{"limit": "max_llm_calls", "used": 4, "allowed": 5}]
    store.settle([settle(claim, f"c{n}", 170_000_000) for n in range(5)])
    assert [e.data["limit"] for e in store.events(claim.task_id, types=["budget_warning"])] == ["max_llm_calls", "max_usd"]
    store.update(claim.task_id, budget={"max_llm_calls": 10})
    store.reserve([llm(claim, f"d{n}") for n in range(3)])
    assert len(store.events(claim.task_id, types=["budget_warning"])) == 3


def test_eighty_percent_of_steps_and_tool_calls_is_told_when_they_are_counted(store: Store) -> None:
    """Not only with the next model call, which may never come; once each, and never after the end of the task."""
    claim = claimed(store, budget=Budget(max_steps=5, max_tool_calls=10))
    log = NewEvent(type="agent_log", attempt=1, data={"text": "x"})
    store.journal([entry(claim, events=(log,), add_steps=1)] * 3)
    assert store.events(claim.task_id, types=["budget_warning"]) == []
    wrote(store, claim, add_steps=1, add_tool_calls=8)
    wrote(store, claim, add_steps=1, add_tool_calls=1)
    told = [dict(event.data) for event in store.events(claim.task_id, types=["budget_warning"])]
    assert told == [{"limit": "max_tool_calls", "used": 8, "allowed": 10}, {"limit": "max_steps", "used": 4, "allowed": 5}]
    other = claimed(store, budget=Budget(max_steps=1))
    finish = Ending(change=Change.FINISH, reason=Reason.COMPLETED, attempt_state="succeeded", result=1)
    store.journal([entry(other, add_steps=1), entry(other, ending=finish)])
    assert store.events(other.task_id)[-1].type == "task_succeeded"


def test_what_was_spent_beyond_the_hold_is_told(store: Store) -> None:
    """A call dearer than its hold is billed in full and flagged, and nothing more is granted."""
    claim = claimed(store, budget=Budget(max_usd=0.0000001))
    store.reserve([llm(claim, "a", hold=100)])
    [settled] = store.settle([settle(claim, "a", 250)])
    assert settled.over == ("max_usd",)
    assert store.get(claim.task_id).usage.nanousd == 250
    assert _refused(store.reserve([llm(claim, "b", hold=1)])[0]).limit == "max_usd"
    assert store.reserve([llm(claim, "free", hold=0)])[0]


def test_a_charge_is_recorded_even_beyond_the_limit(store: Store) -> None:
    """Money the agent says it spent is spent: recorded, and flagged when it passes the limit."""
    claim = claimed(store, budget=Budget(max_usd=0.0000001))
    event = NewEvent(type="charged", attempt=1, data={"nanousd": 150, "what": "an API"})
    charge = Reserve(
        kind="charge", task_id=claim.task_id, lease_token=claim.lease_token, attempt=1, call_id="x", hold_nanousd=150, event=event
    )
    [answer] = store.reserve([charge])
    assert isinstance(answer, Reserved)
    assert (answer.over, answer.counters.nanousd, answer.counters.held_nanousd) == ("max_usd", 150, 0)


def test_wrap_up_keeps_its_last_call(store: Store) -> None:
    """With wrap_up one call and a share of the money stay for the last call, which alone may take them."""
    claim = claimed(store, budget=Budget(max_llm_calls=2, max_usd=1), on_budget_exceeded="wrap_up")
    assert store.reserve([llm(claim, "a", hold=900_000_000)])[0]
    assert _refused(store.reserve([llm(claim, "b")])[0]).limit == "max_llm_calls"
    assert store.reserve([llm(claim, "b", hold=90_000_000, final=True)])[0]
    assert not store.reserve([llm(claim, "c", final=True)])[0]


def test_raised_and_lowered_limits_bite_at_once(store: Store) -> None:
    """update() changes what the next reservation sees, in both directions; a bad value names its field."""
    claim = claimed(store, budget=Budget(max_llm_calls=1))
    store.reserve([llm(claim, "a")])
    assert not store.reserve([llm(claim, "b")])[0]
    store.update(claim.task_id, budget={"max_llm_calls": 2}, by="ann")
    assert store.reserve([llm(claim, "b")])[0]
    store.update(claim.task_id, budget={"max_llm_calls": 0})
    assert not store.reserve([llm(claim, "c")])[0]
    assert store.reserve([_asked(claim, "tool", "t")])[0], "a lowered limit of one kind does not refuse another"
    with pytest.raises(ValidationError, match=r"budget\.max_usd"):
        store.update(claim.task_id, budget={"max_usd": -1})


def test_a_refused_reservation_leaves_no_trace(store: Store) -> None:
    """A refusal counts nothing, holds nothing and writes no event."""
    claim = claimed(store, budget=Budget(max_llm_calls=0))
    event = NewEvent(type="call_started", attempt=1, data={"call_id": "a"})
    store.reserve([llm(claim, "a", hold=5, tokens=5, event=event)])
    counters = store.counters(claim.task_id)
    assert (counters.llm_calls, counters.held_nanousd, counters.held_tokens) == (0, 0, 0)
    assert types(store, claim.task_id) == ["task_submitted"]


_amounts = st.integers(min_value=0, max_value=60)
_moves = st.one_of(
    st.tuples(st.just("reserve"), _amounts, _amounts),
    st.tuples(st.just("settle"), st.integers(0, 30), _amounts),
    st.tuples(st.just("orphans"), st.just(0), st.just(0)),
    st.tuples(st.just("approve"), st.integers(0, 2), _amounts),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(_moves, max_size=30))
def test_no_interleaving_passes_a_limit(store: Store, moves: list[tuple[str, int, int]]) -> None:
    """Reserve, settle, orphan and approve in any order: spent + held ≤ limit, calls ≤ limit, granted exactly what fits."""
    claim = claimed(store, budget=Budget(max_llm_calls=4, max_usd="0.0000001"))  # type: ignore[arg-type]
    calls, money, held, spent = 4, 100, dict[str, int](), 0
    for number, (kind, a, b) in enumerate(moves):
        before = store.counters(claim.task_id)
        if kind == "reserve":
            fits = before.llm_calls < calls and (a == 0 or spent + sum(held.values()) + a <= money)
            assert bool(store.reserve([llm(claim, f"c{number}", hold=a)])[0]) == fits
            held |= {f"c{number}": a} if fits else {}
        elif kind == "settle" and held:
            name = sorted(held)[a % len(held)]
            spent += min(b, held[name])
            store.settle([settle(claim, name, min(b, held.pop(name)))])
        elif kind == "orphans":
            store.settle_orphans(lease_tokens=[claim.lease_token])
            spent += sum(held.values())
            held.clear()
        elif kind == "approve":
            calls, money = calls + a, money + b
            store.update(claim.task_id, budget={"max_llm_calls": calls, "max_usd": f"{money / 10**9:.9f}"})
        row = store.counters(claim.task_id)
        assert (row.nanousd, row.held_nanousd) == (spent, sum(held.values()))
        assert row.nanousd + row.held_nanousd <= row.max_nanousd == money
        assert row.llm_calls <= row.max_llm_calls == calls


def test_an_approval_adds_to_the_budget_and_the_task_goes_on(store: Store) -> None:
    """A budget pause goes on when more is approved, with the spend so far still counted; too little is refused."""
    claim = claimed(store, budget=Budget(max_llm_calls=1))
    store.reserve([llm(claim, "a")])
    ask = NewApproval(kind="budget", question="More?", details={"limit": "max_llm_calls"})
    ended(store, claim, Change.PAUSE, Reason.BUDGET, "paused", approval=ask)
    with pytest.raises(ValidationError, match="max_llm_calls"):
        store.decide(ask.id, Answer(decision="approve", add={"max_usd": 1}))
    assert store.get(claim.task_id).budget.max_usd == 5.0
    got = store.decide(ask.id, Answer(decision="approve", add={"max_llm_calls": 2}, by="ann", comment="fine"))
    assert (got.state, got.budget.max_llm_calls, got.usage.llm_calls) == ("queued", 3, 1)
    [again] = store.claim(worker(store), ["autogpt"], 1)
    assert [bool(x) for x in store.reserve([llm(again, f"b{n}") for n in range(3)])] == [True, True, False]


_RESERVER = Path(__file__).with_name("reserver.py")


def test_many_processes_get_exactly_the_limit(url: str, store: Store) -> None:
    """Sixteen processes that reserve at the same time are granted exactly the limit between them."""
    claim = claimed(store, budget=Budget(max_llm_calls=50))
    command = [sys.executable, str(_RESERVER), url, claim.task_id, claim.lease_token, "16", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    granted = [int(word) for word in done.stdout.split()]
    assert (len(granted), sum(granted)) == (16, 50)
    assert store.counters(claim.task_id).llm_calls == 50
    seen = types(store, claim.task_id)
    assert seen.count("call_started") == 50
