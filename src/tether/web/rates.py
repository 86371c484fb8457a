"""Rates: a bucket per key that fills evenly and holds two seconds' worth. Pure but for the clock it is given."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Rates"]

_BURST_S = 2.0
_MOST = 10_000


class Rates:
    """Requests per second and key; `default` where a key has no rate of its own."""

    def __init__(self, default: int, now: Callable[[], float] = time.monotonic) -> None:
        self._default = default
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, rate: int | None = None) -> float:
        """0 when a request may go on now, else the seconds until one may."""
        per_s = float(rate or self._default)
        now = self._now()
        level, at = self._buckets.get(name, (per_s * _BURST_S, now))
        level = min(per_s * _BURST_S, level + (now - at) * per_s)
        if len(self._buckets) >= _MOST and name not in self._buckets:
            self._buckets.clear()
        if level < 1:
            self._buckets[name] = (level, now)
            return (1 - level) / per_s
        self._buckets[name] = (level - 1, now)
        return 0.0
