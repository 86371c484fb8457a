"""Waking workers after a submission or a decision, in whatever process stores it; without a broker they look for themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from tether.config import QueueSettings
from tether.errors import ConfigurationError
from tether.queue.announcing import Announcer, Outbox
from tether.queue.base import Wake

__all__ = ["Announcements"]

log = logging.getLogger("tether.queue")


class Announcements:
    """The announcer of this process, where a broker is configured: nobody waits for it, and it fails nobody."""

    def __init__(self, settings: QueueSettings, outbox: Outbox) -> None:
        self._settings = settings
        self._outbox = outbox
        self._lock = threading.Lock()
        self._started = False
        self._announcer: Announcer | None = None

    def start(self) -> None:
        """Begin to publish, and to sweep what others left in the outbox; the first `offer` does so too."""
        with self._lock:
            if not self._started:
                self._started = True
                self._announcer = self._new_announcer()

    def offer(self, wakes: Sequence[Wake]) -> None:
        """Announce these queued tasks soon."""
        self.start()
        if self._announcer is not None:
            self._announcer.offer(wakes)

    def close(self) -> None:
        """End; what is not published within half a second is left to sweepers."""
        if self._announcer is not None:
            self._announcer.close()

    def _new_announcer(self) -> Announcer | None:
        """Started; None without a broker or its client, since workers announce what is left."""
        from tether.queue import open_queue

        if not self._settings.url:
            return None
        try:
            made = Announcer(open_queue(self._settings), self._outbox)
        except ConfigurationError as error:
            log.warning("tasks are announced by workers only: %s", error)
            return None
        made.start()
        return made
