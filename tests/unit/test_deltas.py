"""Checkpoint deltas: lists grow, keys are set, the base stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.deltas import apply_delta
from tether.errors import ValidationError

names = st.sampled_from(["messages", "notes", "plan"])
states = st.dictionaries(names, st.lists(st.integers(), max_size=5))
deltas = st.fixed_dictionaries({}, optional={"append": st.dictionaries(names, st.lists(st.integers(), max_size=3))})


@given(states, st.lists(deltas, max_size=5))
def test_a_chain_of_appends_is_the_whole_list(state: dict[str, Any], chain: list[dict[str, Any]]) -> None:
    """A chain of deltas gives what appending everything at once would, and changes neither base nor deltas."""
    before = copy.deepcopy((state, chain))
    out: Any = state
    for delta in chain:
        out = apply_delta(out, delta)
    expected = {name: list(items) for name, items in state.items()}
    for delta in chain:
        for name, items in delta.get("append", {}).items():
            expected[name] = expected.get(name, []) + items
    assert out == expected
    assert (state, chain) == before


def test_set_replaces_a_key() -> None:
    """A set key takes the new value whole, after the appends."""
    assert apply_delta({"plan": [1], "step": 1}, {"append": {"plan": [2]}, "set": {"step": 2}}) == {"plan": [1, 2], "step": 2}


@pytest.mark.parametrize(
    ("state", "delta"),
    [
        ([], {}),
        (None, {"set": {"a": 1}}),
        ({}, {"remove": ["a"]}),
        ({"a": "text"}, {"append": {"a": ["x"]}}),
        ({}, {"append": {"a": "x"}}),
    ],
)
def test_what_is_no_delta_is_refused(state: Any, delta: Any) -> None:
    """A delta of another shape, or on something that is no list, is refused by name."""
    with pytest.raises(ValidationError, match="checkpoint"):
        apply_delta(state, delta)
