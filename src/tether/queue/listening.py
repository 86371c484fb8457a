"""The listener of a worker: takes a wake-up when a slot is free, has the rows looked at, and acknowledges it then."""

from __future__ import annotations

from typing import Protocol

from tether.queue.base import Queue
from tether.queue.threads import BrokerThread

__all__ = ["Claimer", "Listener"]

_WAIT_S = 1.0
_LOOK_S = 20.0


class Claimer(Protocol):
    """What the listener needs of a worker."""

    @property
    def free_slots(self) -> int:
        """Attempts it can take now."""
        ...

    def look(self, timeout_s: float) -> bool:
        """Have the rows looked at, by a look that begins now; False when it did not end well within timeout_s."""
        ...


class Listener:
    """Turns messages into looks; `freed` tells it that there is a slot again."""

    def __init__(self, queue: Queue, claimer: Claimer) -> None:
        self._queue = queue
        self._claimer = claimer
        self._thread = BrokerThread("listener", queue, self._turn)

    @property
    def is_well(self) -> bool:
        """Whether messages can arrive."""
        return self._thread.is_well

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def freed(self) -> None:
        """A slot is free."""
        self._thread.wake()

    def close(self, wait_s: float = 1.0) -> None:
        """Stop listening; a message in hand goes to another worker. Waits for its end for up to wait_s seconds."""
        self._thread.close(wait_s)

    def _turn(self) -> None:
        wakeup = self._queue.next(_WAIT_S)
        if wakeup is None:
            return
        if self._claimer.free_slots <= 0:
            # It stays with the broker for a worker that has room; this one is heard again when a slot is free.
            self._queue.back(wakeup)
        elif self._claimer.look(_LOOK_S):
            self._queue.ack(wakeup, more=self._claimer.free_slots > 0)
        else:
            self._queue.back(wakeup)
        while self._claimer.free_slots <= 0 and not self._thread.is_closing:
            self._queue.keep()
            self._thread.pause(_WAIT_S)
