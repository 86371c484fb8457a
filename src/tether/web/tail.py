"""One tail of the journal per process: it is read once, however many follow tasks, and not at all when nobody does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from tether.errors import TetherError
from tether.events import Event
from tether.web.problems import log

if TYPE_CHECKING:
    from tether.store import Store
    from tether.web.service import Threads

__all__ = ["Follower", "JournalTail"]

_LOOK_S = 0.04
_AWAY_S = 1.0
_PAGE = 1000
_MOST_WAITING = 256


class Follower:
    """What one reader has not read yet, bounded: `missed` says that it fell behind and must read from the store."""

    __slots__ = ("_arrived", "events", "missed")

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.missed = False
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        """An event of the task it follows."""
        if len(self.events) >= _MOST_WAITING:
            self.events.clear()
            self.missed = True
        if not self.missed:
            self.events.append(event)
        self._arrived.set()

    def lost(self) -> None:
        """The tail was interrupted."""
        self.events.clear()
        self.missed = True
        self._arrived.set()

    async def wait(self) -> None:
        """Until there is something to read."""
        await self._arrived.wait()
        self._arrived.clear()


class JournalTail:
    """Hands every new event to those who follow its task."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        self._followers: dict[str, set[Follower]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self.count = 0

    def start(self) -> None:
        """Begin, once somebody follows."""
        self._loop = asyncio.create_task(self._serve(), name="tail")

    async def stop(self) -> None:
        """End."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop

    @contextlib.asynccontextmanager
    async def following(self, task_id: str) -> AsyncGenerator[Follower]:
        """A Follower of one task; it is told to look into the store first, for what happened before."""
        follower = Follower()
        follower.missed = True
        self._followers[task_id].add(follower)
        self.count += 1
        self._wanted.set()
        try:
            yield follower
        finally:
            self.count -= 1
            self._followers[task_id].discard(follower)
            if not self._followers[task_id]:
                del self._followers[task_id]

    async def _serve(self) -> None:
        cursor: str | None = None
        while True:
            if not self._followers:
                self._wanted.clear()
                await self._wanted.wait()
                cursor = None
            try:
                cursor, more = await self._look(cursor)
            except TetherError as error:
                log.warning("the journal cannot be followed now: %s", error)
                cursor, more = None, False
                await asyncio.sleep(_AWAY_S)
            if not more:
                await asyncio.sleep(_LOOK_S)

    async def _look(self, cursor: str | None) -> tuple[str, bool]:
        found = await self._threads.call(self._store.tail, cursor, limit=_PAGE)
        if cursor is None:
            # between the last look and this one anything may have happened
            for follower in [f for group in self._followers.values() for f in group]:
                follower.lost()
        for event in found.events:
            for follower in self._followers.get(event.task_id, ()):
                follower.put(event)
        return found.cursor, len(found.events) == _PAGE
