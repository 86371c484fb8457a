"""Submissions of many requests go to the store in one transaction: one fsync for all of them (group commit)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.errors import ServerUnavailable, TetherError
from tether.store.rows import NewTask
from tether.task import Task, TaskDocument
from tether.web.fresh import fresh_document
from tether.web.problems import Refused

if TYPE_CHECKING:
    from tether.store import Store
    from tether.web.service import Threads

__all__ = ["Submissions"]

_MOST_TOGETHER = 100
_MOST_WAITING = 2000


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    new: NewTask
    answer: asyncio.Future[TaskDocument]


class Submissions:
    """Gathers what arrives while the last transaction ran, and submits it together."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._keys: set[tuple[str, str | None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take submissions."""
        self._loop = asyncio.create_task(self._serve(), name="submissions")

    async def stop(self) -> None:
        """Refuse what waits."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        for one in self._waiting:
            _settle(one, ServerUnavailable("the server stops; try again", 503))

    @contextlib.contextmanager
    def keyed(self, task: Task) -> Generator[None]:
        """While a task with an idempotency key is on its way; raises Refused for a second request with that key."""
        name = (task.tenant, task.idempotency_key)
        if task.idempotency_key is None:
            yield
            return
        if name in self._keys:
            raise Refused("in_flight", "the first request with this key is not answered yet; try again", {"Retry-After": "1"})
        self._keys.add(name)
        try:
            yield
        finally:
            self._keys.discard(name)

    async def submit(self, new: NewTask) -> TaskDocument:
        """The stored task; raises like Store.submit, ServerUnavailable when too many wait."""
        if len(self._waiting) >= _MOST_WAITING:
            raise ServerUnavailable("too many submissions wait for the store; try again", 503)
        one = _Waiting(new=new, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._arrived.set()
        return await one.answer

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
            if not self._waiting:
                self._arrived.clear()
            try:
                found = await self._threads.call(_submit, self._store, [one.new for one in batch])
            except Exception as error:
                found = [error] * len(batch)
            for one, answer in zip(batch, found, strict=True):
                _settle(one, answer)


def _settle(one: _Waiting, answer: TaskDocument | Exception) -> None:
    if one.answer.done():
        return
    if isinstance(answer, Exception):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)


def _submit(store: Store, new: Sequence[NewTask]) -> list[TaskDocument | Exception]:
    """All at once; one by one when somebody's key conflicts, so that it hurts only them."""
    try:
        ids: list[str | Exception] = list(store.submit_many(new))
    except TetherError as error:
        ids = [error] if len(new) == 1 else [_one(store, item) for item in new]
    # a task with a key may be an older one, so only those are read back
    keyed = [i for i, item in zip(ids, new, strict=True) if isinstance(i, str) and item.task.idempotency_key]
    found = store.documents(keyed) if keyed else {}
    return [
        task_id if isinstance(task_id, Exception) else found.get(task_id) or fresh_document(task_id, item)
        for task_id, item in zip(ids, new, strict=True)
    ]


def _one(store: Store, new: NewTask) -> str | Exception:
    try:
        return store.submit_many([new])[0]
    except TetherError as error:
        return error
