"""The gateway's one way into the store: a writer thread that puts all waiting work into one transaction (group commit).

Reservations fail at once when the store is away, so nothing is sent unrecorded; settlements and notes wait until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from tether.errors import StoreUnavailable
from tether.store.rows import Append, Recording, Refused, Reserve, Reserved, Settle, Settled
from tether.store.store import Store

__all__ = ["Ledger"]

log = logging.getLogger("tether.gateway")
_MOST_IN_BATCH = 256
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_LINGER_S = 0.003

_Waiting = tuple[Any, "asyncio.Future[Any] | None"]


class Ledger:
    """Reserve and settle from the event loop; one thread talks to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    async def reserve(self, item: Reserve) -> Reserved | Refused:
        """Durable before it returns. Raises StoreUnavailable."""
        future: asyncio.Future[Reserved | Refused] = self._loop.create_future()
        self._queue.put((item, future))
        return await future

    def settle(self, item: Settle) -> asyncio.Future[Settled]:
        """Becomes durable after every earlier work; kept and tried again while the store is away."""
        future: asyncio.Future[Settled] = self._loop.create_future()
        self._queue.put((item, future))
        return future

    async def recordings(self, task_id: str) -> list[Recording]:
        """What was recorded of a task. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._store.recordings, task_id)

    def append(self, item: Append | Recording) -> None:
        """Recordings, or events without a reservation; kept and tried again while the store is away."""
        self._queue.put((item, None))

    def close(self, within_s: float) -> None:
        """Write what is waiting, for at most that long."""
        self._queue.put(None)
        self._thread.join(within_s)

    def _write(self) -> None:
        owed: list[_Waiting] = []
        wait_s, retry_at = _FIRST_WAIT_S, 0.0
        open_ = True
        while open_ or owed:
            fresh, open_ = self._take(block_s=None if open_ and not owed else max(retry_at - time.monotonic(), 0.0), open_=open_)
            reserves = [w for w in fresh if isinstance(w[0], Reserve)]
            owed += [w for w in fresh if not isinstance(w[0], Reserve)]
            due = owed if time.monotonic() >= retry_at else []
            kept = self._commit([*due, *reserves])
            if due:
                owed = kept
                retry_at, wait_s = (time.monotonic() + wait_s, min(wait_s * 2, _LONGEST_WAIT_S)) if owed else (0.0, _FIRST_WAIT_S)

    def _take(self, block_s: float | None, open_: bool) -> tuple[list[_Waiting], bool]:
        """Everything that waits now, up to a batch; waits for the first one (None: as long as it takes).

        Nobody waits for a settlement as for a reservation, so settlements wait a moment for one, and share its commit.
        """
        taken: list[_Waiting] = []
        with contextlib.suppress(queue.Empty):
            if not open_:
                time.sleep(block_s or 0.0)
                return taken, False
            work = self._queue.get(timeout=block_s) if block_s != 0.0 else self._queue.get_nowait()
            until_s = time.monotonic() + _LINGER_S
            while work is not None:
                taken.append(work)
                if len(taken) >= _MOST_IN_BATCH:
                    return taken, True
                until_s = 0.0 if isinstance(work[0], Reserve) else until_s
                left_s = until_s - time.monotonic()
                work = self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait()
            return taken, False
        return taken, True

    def _commit(self, work: list[_Waiting]) -> list[_Waiting]:
        """One transaction for all; when one item spoils it, each by itself. What must be kept while the store is away."""
        if not work:
            return []
        try:
            results = self._store.meter([item for item, _ in work])
        except StoreUnavailable as error:
            self._answer([(future, error) for item, future in work if isinstance(item, Reserve)])
            return [one for one in work if not isinstance(one[0], Reserve)]
        except Exception as error:  # whatever it is, it belongs to one caller and must not stop the thread
            if len(work) > 1:
                return [kept for one in work for kept in self._commit([one])]
            log.error("%s could not be written: %s", type(work[0][0]).__name__, error)
            self._answer([(work[0][1], StoreUnavailable(f"{type(error).__name__}: {error}"))])
            return []
        self._answer([(future, result) for (_, future), result in zip(work, results, strict=True)])
        return []

    def _answer(self, results: Sequence[tuple[asyncio.Future[Any] | None, Any]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: Sequence[tuple[asyncio.Future[Any] | None, Any]]) -> None:
    for future, result in results:
        if future is None or future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
