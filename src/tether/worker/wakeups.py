"""A worker's two ends of the broker: it announces what waits in the outbox, and listens while it has a free slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.config import Settings
from tether.queue import open_queue
from tether.queue.announcing import Announcer
from tether.queue.listening import Claimer, Listener

if TYPE_CHECKING:
    from tether.store import Store

__all__ = ["WakeUps"]


class WakeUps:
    """Without a broker it does nothing, and the worker finds its tasks by polling alone. Raises ConfigurationError."""

    def __init__(self, settings: Settings, store: Store, claimer: Claimer, agents: tuple[str, ...]) -> None:
        queue = settings.queue
        self._poll_s = queue.poll_s
        self._announcer: Announcer | None = None
        self._listener: Listener | None = None
        if queue.url:
            self._announcer = Announcer(open_queue(queue), store)
            self._listener = Listener(open_queue(queue, agents=agents, tenants=settings.worker.tenants), claimer)

    def start(self) -> None:
        """Announce and listen until `close`."""
        for end in (self._announcer, self._listener):
            if end is not None:
                end.start()

    def freed(self) -> None:
        """A slot is free."""
        if self._listener is not None:
            self._listener.freed()

    def claim_every_s(self) -> float:
        """Seconds between claims that no message asked for: fewer while messages arrive, as usual while they cannot."""
        return self._poll_s if self._listener is not None and self._listener.is_well else 0.0

    def close(self) -> None:
        """Stop both."""
        for end in (self._listener, self._announcer):
            if end is not None:
                end.close()
