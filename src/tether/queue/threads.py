"""A thread that uses the broker, survives every fault of it and reconnects with a growing, jittered wait."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable

from tether.errors import QueueUnavailable, StoreUnavailable
from tether.queue.base import Queue

__all__ = ["BrokerThread"]

log = logging.getLogger("tether.queue")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0


class BrokerThread:
    """Calls `turn` again and again until closed; `is_well` tells whether the last turn reached the broker."""

    def __init__(self, name: str, queue: Queue, turn: Callable[[], None]) -> None:
        self._queue = queue
        self._turn = turn
        self._woken = threading.Event()
        self._ended = threading.Event()
        self.is_well = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Whether the thread is to end."""
        return self._ended.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """End a `pause`."""
        self._woken.set()

    def pause(self, seconds: float) -> None:
        """Wait until woken, for at most so many seconds; for `turn` only."""
        self._woken.wait(seconds)
        self._woken.clear()

    def close(self, wait_s: float = 1.0) -> None:
        """End after the present turn; a turn that takes longer than wait_s ends with the process."""
        self._ended.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _live(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self.is_closing:
            try:
                self._turn()
                if not self.is_well:
                    log.info("%s: the broker answers", self._thread.name)
                self.is_well, wait_s = True, _FIRST_WAIT_S
                continue
            except (QueueUnavailable, StoreUnavailable) as error:
                if self.is_well or wait_s == _FIRST_WAIT_S:
                    log.warning("%s: %s", self._thread.name, error)
            except Exception:
                log.exception("%s", self._thread.name)
            self.is_well = False
            self._ended.wait(wait_s * random.uniform(0.5, 1.0))  # jitter: a fleet must not fall upon a broker that comes back
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        with contextlib.suppress(Exception):
            self._queue.close()
