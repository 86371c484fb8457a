"""Telling an agent, once for each limit, that 80 % of it is used, so that it can come to an end in time."""

from __future__ import annotations

from tether.worker.attempt import LiveAttempt

__all__ = ["nearing"]

_PERCENT = 80


def nearing(attempt: LiveAttempt) -> None:
    """Put what is nearly used up into the attempt's next nudge (the store tells the journal)."""
    allowed = attempt.counters.budget().document()
    left = attempt.budget_left()
    for limit, most in allowed.items():
        used = most - left[limit]
        if not most or used * 100 < most * _PERCENT:
            attempt.warned.discard(limit)
        elif limit not in attempt.warned:
            attempt.warned.add(limit)
            said = f"You have used {used / most:.0%} of {limit} ({used:g} of {most:g}). Come to a result before it is used up."
            attempt.nudge = f"{attempt.nudge}\n{said}" if attempt.nudge else said
