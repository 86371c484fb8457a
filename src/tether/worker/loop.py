"""The supervisor's one loop: readable descriptors, timers and posted callbacks; nothing in it may block.

Other threads only `post`. A callback that raises is logged and the loop goes on: one attempt's fault is not another's.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Loop", "Timer", "now_s"]

log = logging.getLogger("tether.worker")
now_s = time.monotonic
_LONGEST_WAIT_S = 1.0


@dataclass(order=True, kw_only=True)
class Timer:
    """A callback at a time (`time.monotonic` seconds); `cancel` makes it not happen."""

    at_s: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Make it not happen."""
        self.callback = None


class Loop:
    """A selector, a heap of timers and an inbox other threads may post to."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended = False
        self.watch(self._wake, self._drain_wake)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fd` is readable (or its other end is gone)."""
        if fd in self._selector.get_map():
            # Its earlier owner closed it without unwatching; whoever has the number now must not suffer for it.
            log.error("descriptor %d was closed while it was watched", fd)
            self._selector.unregister(fd)
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd: int) -> None:
        """Stop watching; unknown descriptors are fine."""
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):
            return

    def at(self, at_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` at `at_s` on the monotonic clock."""
        timer = Timer(at_s=at_s, number=next(self._numbers), callback=callback)
        heapq.heappush(self._timers, timer)
        return timer

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in `delay_s` seconds."""
        return self.at(now_s() + delay_s, callback)

    def post(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the loop, soon; the one method other threads (and signal handlers) may use."""
        self._inbox.append(callback)
        os.eventfd_write(self._wake, 1)

    def end(self) -> None:
        """Return from `turn_until_ended` after this turn."""
        self._ended = True

    def turn_until_ended(self) -> None:
        """Turn until `end`; ends what is due first, so a flood of messages cannot delay a deadline by more than a turn."""
        while not self._ended:
            self._fire_due()
            for key, _ in self._selector.select(self._wait_s()):
                self._fire_due()
                _guarded(key.data)
            self._empty_inbox()

    def close(self) -> None:
        """Close the loop's own descriptors."""
        self._selector.close()
        os.close(self._wake)

    def _wait_s(self) -> float:
        if self._inbox:
            return 0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return _LONGEST_WAIT_S
        return min(max(self._timers[0].at_s - now_s(), 0), _LONGEST_WAIT_S)

    def _fire_due(self) -> None:
        now = now_s()
        while self._timers and self._timers[0].at_s <= now:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                _guarded(callback)

    def _empty_inbox(self) -> None:
        for _ in range(len(self._inbox)):
            _guarded(self._inbox.popleft())

    def _drain_wake(self) -> None:
        os.eventfd_read(self._wake)


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.exception("a callback of the loop failed")
