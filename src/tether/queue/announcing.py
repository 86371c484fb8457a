"""The announcer: a background publisher, and the sweeper of the outbox, in every worker and in whatever submits.

A submission commits its row and hands the ids over without waiting. What nobody announced (the broker was away, a process died,
a task became ready later) is found by a sweep. A message lost after that costs one poll of a worker.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from tether.queue.base import Queue, Wake
from tether.queue.threads import BrokerThread

__all__ = ["Announcer", "Outbox"]

SWEEP_S = 1.0
_AT_ONCE = 500
_KEPT = 10_000


class Outbox(Protocol):
    """The part of the store the announcer needs."""

    def take_wakes(self, limit: int = ..., *, older_than_s: float = ...) -> Sequence[Wake]:
        """Queued tasks that wait to be announced since older_than_s; each is given to one caller."""
        ...

    def wake_again(self, task_ids: Sequence[str]) -> None:
        """These could not be announced after all, and wait for the next caller."""
        ...


class Announcer:
    """Publishes what `offer` brings at once, and what else is in the outbox every second."""

    def __init__(self, queue: Queue, outbox: Outbox) -> None:
        self._queue = queue
        self._outbox = outbox
        self._offered: deque[Wake] = deque(maxlen=_KEPT)
        self._swept_s = 0.0
        self._idle = threading.Event()
        self._idle.set()
        self._thread = BrokerThread("announcer", queue, self._turn)

    @property
    def is_well(self) -> bool:
        """Whether the broker took the last announcements."""
        return self._thread.is_well

    def start(self) -> None:
        """Begin publishing."""
        self._thread.start()

    def offer(self, wakes: Sequence[Wake]) -> None:
        """Announce these soon; never waits and never fails."""
        self._idle.clear()
        self._offered.extend(wakes)
        self._thread.wake()

    def close(self, wait_s: float = 0.5) -> None:
        """Stop; what was offered gets up to wait_s seconds to be published, the rest is left to sweepers."""
        if self._thread.is_well:
            self._idle.wait(wait_s)
        self._thread.close(wait_s)

    def _turn(self) -> None:
        if not self._offered:
            self._idle.set()
            self._thread.pause(SWEEP_S)
        offered = [self._offered.popleft() for _ in range(min(len(self._offered), _AT_ONCE))]
        # The store is not told: a claim takes the task from the outbox, and must not meet its row locked by us. What is still
        # queued at the next sweep is announced a second time, which harms nobody.
        self._queue.announce(offered)
        if time.monotonic() - self._swept_s >= SWEEP_S:
            self._sweep()

    def _sweep(self) -> None:
        while wakes := self._outbox.take_wakes(_AT_ONCE, older_than_s=SWEEP_S):
            try:
                self._queue.announce(wakes)
            except Exception:
                self._outbox.wake_again([wake.task_id for wake in wakes])
                raise
        self._swept_s = time.monotonic()
