"""A clock for tests that jumps instead of waiting."""

from __future__ import annotations

import math

__all__ = ["FakeClock"]


class FakeClock:
    """Seconds that pass only when told to; call it where a clock such as time.monotonic is wanted."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s

    @property
    def now_s(self) -> float:
        """Seconds on this clock."""
        return self._now_s

    def __call__(self) -> float:
        return self._now_s

    def jump(self, seconds: float) -> float:
        """Let `seconds` (finite, not negative) pass at once; returns the new time."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"a clock does not go back or to infinity: {seconds}")
        self._now_s += seconds
        return self._now_s
