"""The transition table: what may happen to a task, and that nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tether.errors import IllegalTransition
from tether.lifecycle import AGENT_FAULTS, FINAL, RETRYABLE, SETTLED, TRANSITIONS, Change, Reason, State, apply, diagram

PAIRS = [(state, change) for state in State for change in Change]
WAY_OUT_OF_FINAL = {
    (State.FAILED, Change.RETRY),
    (State.FAILED, Change.ESCALATE),
    (State.CANCELLED, Change.RETRY),
}


@pytest.mark.parametrize(("state", "change"), [p for p in PAIRS if p not in TRANSITIONS], ids="-".join)
def test_illegal_changes_raise(state: State, change: Change) -> None:
    """A change the table does not have raises with state and change, whatever reason comes with it."""
    for reason in [None, *Reason]:
        with pytest.raises(IllegalTransition, match=f"a task that is {state} cannot {change}") as caught:
            apply(state, change, reason)
        assert (caught.value.state, caught.value.change) == (state, change)


@pytest.mark.parametrize(("state", "change"), sorted(TRANSITIONS), ids="-".join)
def test_each_change_takes_only_its_reasons(state: State, change: Change) -> None:
    """A change takes exactly the reasons of its row: none is missing, no other is let through."""
    row = TRANSITIONS[state, change]
    for reason in [None, *Reason]:
        if reason in (row.reasons or {None}):
            assert apply(state, change, reason) is row.after
        else:
            with pytest.raises(IllegalTransition):
                apply(state, change, reason)


def test_final_states_are_left_only_by_retry_or_escalation() -> None:
    """Nothing but a human's retry or escalation takes a task out of a final state; a success is never undone."""
    assert {pair for pair in TRANSITIONS if pair[0] in FINAL} == WAY_OUT_OF_FINAL


def test_settled_is_final_or_waiting_for_a_human() -> None:
    """settled, what wait() waits for by default, is final or paused."""
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.PAUSED} == SETTLED


def test_every_state_can_be_reached_and_left_or_is_final() -> None:
    """No state is a dead end by mistake and none is unreachable."""
    assert {row.after for row in TRANSITIONS.values()} == set(State)
    assert {row.before for row in TRANSITIONS.values()} | {State.SUCCEEDED} == set(State)


def test_every_reason_is_used() -> None:
    """The closed list of reasons has no row too many."""
    assert {reason for row in TRANSITIONS.values() for reason in row.reasons} == set(Reason)


def test_a_lost_worker_and_the_operator_are_not_the_agent_s_fault() -> None:
    """Completion figures blame the agent for its own faults only."""
    blameless = {Reason.WORKER_LOST, Reason.OPERATOR, Reason.UPSTREAM_ERROR, Reason.BUDGET, Reason.CANCELLED, Reason.EXPIRED}
    assert not blameless & AGENT_FAULTS
    assert Reason.WORKER_LOST in RETRYABLE
    assert Reason.TASK_TIMEOUT not in RETRYABLE


def test_cancel_works_from_every_state_that_is_not_final() -> None:
    """A user can always cancel what has not ended."""
    for state in set(State) - FINAL:
        assert apply(state, Change.CANCEL, Reason.CANCELLED) is State.CANCELLED


@pytest.mark.parametrize(
    ("state", "change", "hint"),
    [(State.SUCCEEDED, Change.RETRY, "submit the task again"), (State.PAUSED, Change.RETRY, "resume, approve or answer")],
)
def test_common_mistakes_get_a_hint(state: State, change: Change, hint: str) -> None:
    """A likely mistake is answered with what to do instead."""
    with pytest.raises(IllegalTransition, match=hint):
        apply(state, change)


def test_diagram_shows_every_row() -> None:
    """The diagram of the documentation is the table: a line per row, and the final states end."""
    lines = diagram().splitlines()
    for row in TRANSITIONS.values():
        assert f"    {row.before} --> {row.after}: {row.change}" in lines
    assert [line for line in lines if line.endswith("--> [*]")] == [f"    {s} --> [*]" for s in State if s in FINAL]


class Life(RuleBasedStateMachine):
    """Any sequence of changes, legal or not, on one task."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.QUEUED

    @rule(change=st.sampled_from(Change), reason=st.none() | st.sampled_from(Reason))
    def change(self, change: Change, reason: Reason | None) -> None:
        before = self.state
        row = TRANSITIONS.get((before, change))
        try:
            self.state = apply(before, change, reason)
        except IllegalTransition:
            assert row is None or reason not in (row.reasons or {None})
            return
        assert row is not None
        assert before not in FINAL or (before, change) in WAY_OUT_OF_FINAL

    @invariant()
    def state_is_one_of_six(self) -> None:
        assert self.state in State


Life.TestCase.settings = settings(max_examples=100, stateful_step_count=30)


class TestLife(Life.TestCase):
    """No sequence of changes leaves the table."""
