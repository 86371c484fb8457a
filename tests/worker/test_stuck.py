"""Going round in circles: decided from tool calls alone, nudged once, paused for a human; honest polling goes on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tether.config import StuckSettings
from tether.events import Event
from tether.worker.nudging import history
from tether.worker.stuck import Circle, EndedCall, Suspicions

SETTINGS = StuckSettings()  # pyright: ignore[reportCallIssue]


def circles(calls: list[EndedCall], settings: StuckSettings = SETTINGS) -> list[Circle]:
    """What is suspected while these calls end one after another."""
    suspicions = Suspicions(settings)
    return [circle for circle in map(suspicions.ended, calls) if circle is not None]


def ok(name: str, result: Any, **args: Any) -> EndedCall:
    return EndedCall.of(name, args, result, None)


def failed(name: str, error: str, **args: Any) -> EndedCall:
    return EndedCall.of(name, args, None, error)


def test_the_same_call_with_the_same_result_is_a_circle_at_the_fourth() -> None:
    """Not before, and the next one only after four more."""
    same = ok("look", "nothing new", at="map")
    assert circles([same] * 3) == []
    (found,) = circles([same] * 4)
    assert (found.pattern, found.count) == ("same_call", 4)
    assert found.calls == ('look {"at": "map"}',)
    assert len(circles([same] * 7)) == 1
    assert len(circles([same] * 8)) == 2


def test_polling_something_that_changes_is_work() -> None:
    """The same call, again and again, is honest as long as its result changes, or something else is done between."""
    assert circles([ok("status", f"{n} %", job=1) for n in range(100)]) == []
    rounds = [(ok("wait", "waited", seconds=5), ok("status", f"{n} %", job=1)) for n in range(50)]
    assert circles(list(itertools.chain(*rounds))) == []
    others = [(ok("wait", "waited"), ok("status", "same"), ok("note", n)) for n in range(20)]
    assert circles(list(itertools.chain(*others))) == []


def test_the_same_error_is_a_circle_at_the_third() -> None:
    """Whatever the arguments, when the same tool fails in the same words; other words or other tools are none."""
    (found,) = circles([failed("fetch", "no route to host", url=f"http://{n}") for n in range(3)])
    assert (found.pattern, found.count, len(found.calls)) == ("same_error", 3, 3)
    assert circles([failed("fetch", f"error {n}") for n in range(10)]) == []
    assert circles([failed(name, "it failed") for name in ("a", "b", "a", "b", "c")]) == []


def test_two_calls_in_turn_are_a_circle_at_the_sixth() -> None:
    """Three times there and back with nothing changed; a changed result on either side is work."""
    one, two = ok("open", "door open"), ok("close", "door closed")
    assert circles([one, two] * 2 + [one]) == []
    (found,) = circles([one, two] * 3)
    assert (found.pattern, found.count) == ("ping_pong", 6)
    assert circles([call for n in range(20) for call in (one, ok("close", n))]) == []


def test_what_was_before_counts() -> None:
    """Calls of earlier attempts come first, also when they are told later; those of a circle that was found do not."""
    suspicions = Suspicions(SETTINGS)
    same = ok("look", "nothing new")
    assert suspicions.ended(same) is None
    suspicions.remember([same, same])
    assert suspicions.ended(same) is not None


def test_history_is_what_no_circle_was_found_in_and_no_human_saw() -> None:
    """A nudge holds over attempts until a human lets the task go on."""
    tool = [
        _event("tool_started", call_id="a", name="look", args={"at": 1}),
        _event("tool_ended", call_id="a", name="look", result=2),
    ]
    seen = [ok("look", 2, at=1)]
    assert history(tool) == (seen, False)
    assert history([*tool, _event("stuck_suspected"), *tool]) == (seen, True)
    assert history([*tool, _event("stuck_suspected"), _event("task_resumed"), *tool]) == (seen, False)


def _event(kind: str, **data: Any) -> Event:
    return Event(task_id="task_1", seq=1, attempt=1, step=1, type=kind, at_ms=0, data=data)


def test_the_order_of_arguments_does_not_matter() -> None:
    """The same arguments are the same call."""
    assert circles([EndedCall.of("f", args, 1, None) for args in ({"a": 1, "b": 2}, {"b": 2, "a": 1}) * 2])


def test_thresholds_are_the_operators() -> None:
    """[stuck] says when."""
    patient = StuckSettings(same_call=9, same_error=9, ping_pong=9)
    assert circles([ok("look", "same")] * 8, patient) == []
    assert len(circles([ok("look", "same")] * 9, patient)) == 1


@pytest.mark.parametrize("key", ["same_call", "same_error", "ping_pong"])
def test_a_threshold_of_one_is_refused(key: str) -> None:
    """A single call is no pattern."""
    with pytest.raises(ValueError, match=key):
        StuckSettings(**{key: 1})
