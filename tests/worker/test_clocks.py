"""Every clock of an attempt, on a clock that jumps."""

from __future__ import annotations

from tether.worker.clocks import Clocks


def _clocks(**given: float) -> Clocks:
    limits = {"task_s": 60.0, "task_left_s": 60.0, "step_s": 10.0, "idle_s": 20.0} | given
    return Clocks(
        started_s=100.0,
        task_s=limits["task_s"],
        task_left_s=limits["task_left_s"],
        step_s=limits["step_s"],
        idle_s=limits["idle_s"],
    )


def test_an_idle_agent_is_found_by_its_silence() -> None:
    """Nothing said for idle_s is a deadline; any sign of life moves it."""
    clocks = _clocks()
    assert clocks.due(119.9) is None
    due = clocks.due(120.0)
    assert due is not None
    assert (due.level, due.limit_s) == ("idle", 20.0)
    clocks.alive(119.0)
    assert clocks.due(120.0) is None


def test_a_step_may_take_step_s_and_no_longer() -> None:
    """The step clock starts with the step, and stops with it."""
    clocks = _clocks()
    clocks.step_started(105.0)
    due = clocks.due(115.0)
    assert due is not None
    assert due.level == "step"
    clocks.step_ended(114.0)
    assert clocks.due(115.0) is None


def test_waiting_for_an_overloaded_upstream_stops_the_step_clock_only() -> None:
    """429 and 503 waits are not the agent's time in its step, but the task's time goes on."""
    clocks = _clocks()
    clocks.step_started(100.0)
    clocks.call_started(100.0)
    clocks.waiting(105.0, on=True)
    assert clocks.due(140.0) is None
    clocks.waiting(140.0, on=False)
    assert clocks.due(144.9) is None
    due = clocks.due(145.0)
    assert due is not None
    assert due.level == "step"
    task_due = clocks.due(160.0)
    assert task_due is not None


def test_a_tool_in_flight_is_a_sign_of_life_with_a_limit_of_its_own() -> None:
    """While a tool runs nobody is idle, and the tool's own deadline names its call."""
    clocks = _clocks(step_s=1000.0, task_s=1000.0, task_left_s=1000.0)
    clocks.tool_started(100.0, "t1", 30.0)
    assert clocks.due(125.0) is None
    due = clocks.due(130.0)
    assert due is not None
    assert (due.level, due.what) == ("tool", "t1")
    clocks.tool_ended(130.0, "t1")
    assert clocks.due(149.0) is None


def test_the_task_clock_counts_earlier_attempts() -> None:
    """What earlier attempts used of task_s is gone."""
    clocks = _clocks(task_left_s=5.0, idle_s=1000.0)
    due = clocks.due(105.0)
    assert due is not None
    assert (due.level, due.limit_s) == ("task", 60.0)


def test_a_frozen_attempt_has_no_deadline_and_loses_no_time() -> None:
    """While we hold an attempt no clock runs, and afterwards every deadline has moved."""
    clocks = _clocks()
    clocks.step_started(100.0)
    clocks.tool_started(100.0, "t1", 8.0)
    clocks.freeze(104.0)
    assert clocks.next() is None
    clocks.thaw(204.0)
    assert clocks.due(207.9) is None
    due = clocks.due(208.0)
    assert due is not None
    assert due.level == "tool"
    assert clocks.active_s(208.0) == 8.0


def test_new_limits_hold_from_now_on() -> None:
    """Timeouts may be changed while the task runs."""
    clocks = _clocks(idle_s=1000.0)
    clocks.limit(30.0, 5.0, 1000.0)
    due = clocks.due(130.0)
    assert due is not None
    assert due.level == "task"
