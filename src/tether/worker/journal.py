"""The journal thread: the supervisor's only hand that writes to the store; it groups what waits into one short transaction.

While the store is away it keeps everything in order and tries again; nothing is acknowledged before it is durable.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.errors import StoreUnavailable, TetherError
from tether.events import NewEvent
from tether.store.rows import Append, Entry, Written
from tether.worker.hiding import Hiding
from tether.worker.spool import Spool

if TYPE_CHECKING:
    from tether.store import Store

__all__ = ["Journal"]

log = logging.getLogger("tether.worker")
_BATCH = 256
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.05, 1.0


@dataclass(frozen=True, kw_only=True)
class _Write:
    entry: Entry
    then: Callable[[Written], None]


@dataclass(frozen=True, kw_only=True)
class _Ask:
    ask: Callable[[Store], Any]
    then: Callable[[Any], None]


class Journal:
    """Takes entries and questions from the loop, in order; `post` brings each answer back into the loop."""

    def __init__(
        self, store: Store, post: Callable[[Callable[[], None]], None], spool: Spool, hiding: Hiding | None = None
    ) -> None:
        self._store = store
        self._post = post
        self._spool = spool
        self._hiding = hiding
        self._waiting: deque[_Write | _Ask] = deque()
        self._arrived = threading.Condition()
        self._closing = False
        self.unavailable_since_s: float | None = None
        self._thread = threading.Thread(target=self._live, name="journal", daemon=True)

    def start(self) -> None:
        """Import what an earlier worker left in the spool, then serve."""
        self._thread.start()

    def write(self, entry: Entry, then: Callable[[Written], None] | None = None) -> None:
        """Journal `entry`; `then` is called in the loop once it is durable or refused."""
        hidden = entry if self._hiding is None else self._hiding.masked(entry)
        self._put(_Write(entry=hidden, then=then or (lambda _: None)))

    def ask(self, ask: Callable[[Store], Any], then: Callable[[Any], None] | None = None) -> None:
        """Call `ask(store)` in order with the entries; `then` gets its answer, or the TetherError it raised."""
        self._put(_Ask(ask=ask, then=then or (lambda _: None)))

    def close(self, wait_s: float) -> bool:
        """Write what waits, for at most `wait_s` seconds; False when something is left."""
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        self._thread.join(wait_s)
        return not self._waiting

    def _put(self, item: _Write | _Ask) -> None:
        with self._arrived:
            self._waiting.append(item)
            self._arrived.notify()

    def _live(self) -> None:
        self._insist(self._import_spool)
        while True:
            with self._arrived:
                while not self._waiting and not self._closing:
                    self._arrived.wait()
                if not self._waiting:
                    return
                batch = self._next_batch()
            self._insist(lambda batch=batch: self._serve(batch))
            with self._arrived:
                for _ in batch:
                    self._waiting.popleft()

    def _next_batch(self) -> list[_Write | _Ask]:
        """The waiting entries up to the next question, or that question; they stay in the queue until they are served."""
        first = self._waiting[0]
        if isinstance(first, _Ask):
            return [first]
        batch: list[_Write | _Ask] = []
        for item in self._waiting:
            if isinstance(item, _Ask) or len(batch) == _BATCH:
                break
            batch.append(item)
        return batch

    def _insist(self, work: Callable[[], None]) -> None:
        """Do `work` until the store takes it; other faults are logged and cost that work only."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                work()
            except StoreUnavailable as error:
                if self.unavailable_since_s is None:
                    self.unavailable_since_s = time.monotonic()
                    log.warning("the store is not available, the journal waits: %s", error)
                time.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
                continue
            except Exception:
                log.exception("the journal could not write")
            if self.unavailable_since_s is not None:
                log.warning("the store is back after %.1f s", time.monotonic() - self.unavailable_since_s)
                self.unavailable_since_s = None
            return

    def _serve(self, batch: list[_Write | _Ask]) -> None:
        if isinstance(batch[0], _Ask):
            self._answer(batch[0])
            return
        writes = [item for item in batch if isinstance(item, _Write)]
        for item, written in zip(writes, self._written(writes), strict=True):
            self._post(lambda item=item, written=written: item.then(written))

    def _written(self, writes: list[_Write]) -> list[Written]:
        """One transaction for all; when that raises, one each, so a poisonous entry harms no other."""
        try:
            return self._store.journal([item.entry for item in writes])
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("a batch of %d entries was refused; writing them one by one", len(writes))
        return [self._one(item.entry) for item in writes]

    def _one(self, entry: Entry) -> Written:
        try:
            return self._store.journal([entry])[0]
        except StoreUnavailable:
            raise
        except TetherError as error:
            return Written(ok=False, problem=error)
        except Exception as error:
            log.exception("an entry of %s was refused", entry.task_id)
            return Written(ok=False, problem=TetherError(f"the journal refused an entry: {error}"))

    def _answer(self, item: _Ask) -> None:
        answer: Any
        try:
            answer = item.ask(self._store)
        except StoreUnavailable:
            raise
        except TetherError as error:
            answer = error
        self._post(lambda: item.then(answer))

    def _import_spool(self) -> None:
        """Dumps of attempts whose supervisor died before the store had them: late rows of their journal, no state changes."""
        for path, record in self._spool.left_behind():
            events = tuple(NewEvent(**event) for event in record.get("events", ()))
            try:
                self._store.append([Append(task_id=record["task_id"], events=events)])
            except StoreUnavailable:
                raise
            except TetherError as error:
                log.warning("a dump of %s could not be imported: %s", record.get("task_id"), error)
            self._spool.remove(path)
