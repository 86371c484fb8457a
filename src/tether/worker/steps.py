"""Beginning and ending a step: the numbers, the clock and the journal's events, whoever says that it is one."""

from __future__ import annotations

from tether.events import NewEvent
from tether.worker.attempt import LiveAttempt

__all__ = ["close_step", "open_step"]


def open_step(attempt: LiveAttempt, now: float, *, inferred: bool = False) -> list[NewEvent]:
    """The next step begins, and the one before it is over; the events to journal, for one more step used."""
    events = close_step(attempt, now)
    attempt.step += 1
    attempt.steps_used += 1
    attempt.step_open, attempt.step_inferred = True, inferred
    attempt.clocks.step_started(now)
    return [*events, attempt.event("step_started", **_label(inferred))]


def close_step(attempt: LiveAttempt, now: float) -> list[NewEvent]:
    """The step is over, if there is one; the events to journal."""
    if not attempt.step_open:
        return []
    started = attempt.clocks.step_started_s
    took_ms = None if started is None else round((now - started) * 1000, 1)
    attempt.step_open = False
    attempt.clocks.step_ended(now)
    return [attempt.event("step_ended", took_ms=took_ms, **_label(attempt.step_inferred))]


def _label(inferred: bool) -> dict[str, bool]:
    return {"inferred": True} if inferred else {}
