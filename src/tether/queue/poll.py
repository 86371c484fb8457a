"""No broker: nothing is announced, nothing arrives, and workers look at the store by themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tether.queue.base import Wake, WakeUp

__all__ = ["Poll"]


class Poll:
    """The queue of a store without a broker."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def announce(self, wakes: Sequence[Wake]) -> None:
        """Nobody listens."""

    def next(self, timeout_s: float) -> WakeUp | None:
        """None after timeout_s seconds, or at once when closed."""
        self._closed.wait(timeout_s)
        return None

    def ack(self, wakeup: WakeUp, *, more: bool) -> None:
        """There is none."""

    def back(self, wakeup: WakeUp) -> None:
        """There is none."""

    def keep(self) -> None:
        """There is no connection."""

    def close(self) -> None:
        """End a waiting `next`."""
        self._closed.set()
