"""A worker's two ends of the broker: it announces what waits in the outbox, and listens while it has a free slot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tether.config import Settings
from tether.queue import open_listening, open_queue
from tether.queue.announcing import Announcer
from tether.queue.listening import Claimer, Listener

if TYPE_CHECKING:
    from tether.store import Store

__all__ = ["WakeUps"]

_CLOSE_S = 1.0


class WakeUps:
    """Without a broker it does nothing, and the worker finds its tasks by polling alone. Raises ConfigurationError."""

    def __init__(self, settings: Settings, store: Store, claimer: Claimer, agents: tuple[str, ...]) -> None:
        queue = settings.queue
        self._poll_s = queue.poll_s
        self._announcer: Announcer | None = None
        self._listeners: list[Listener] = []
        if queue.url:
            self._announcer = Announcer(open_queue(queue), store)
            heard = open_listening(queue, agents=agents, tenants=settings.worker.tenants)
            self._listeners = [Listener(one, claimer) for one in heard]

    def start(self) -> None:
        """Announce and listen until `close`."""
        for end in (self._announcer, *self._listeners):
            if end is not None:
                end.start()

    def freed(self) -> None:
        """A slot is free."""
        for listener in self._listeners:
            listener.freed()

    def claim_every_s(self) -> float:
        """Seconds between claims that no message asked for: fewer while messages arrive, as usual while they cannot."""
        return self._poll_s if self._listeners and all(listener.is_well for listener in self._listeners) else 0.0

    def close(self) -> None:
        """Stop both."""
        for listener in self._listeners:
            listener.close(0.0)  # all of them at once; a long poll is not waited for
        until_s = time.monotonic() + _CLOSE_S
        for listener in self._listeners:
            listener.close(max(until_s - time.monotonic(), 0.0))
        if self._announcer is not None:
            self._announcer.close()
