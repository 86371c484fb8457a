"""Server-sent events of one task's journal: from Last-Event-ID on, a comment while it is quiet, closed once it is final."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from tether.errors import TetherError
from tether.events import Event
from tether.lifecycle import FINAL

if TYPE_CHECKING:
    from tether.web.service import Service
    from tether.web.tail import Follower

__all__ = ["EventStream", "frame"]

_HEARTBEAT_S = 15.0
_SLOWEST_S = 60.0
_PAGE = 200
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def frame(event: Event) -> bytes:
    """One event on the wire; its id is its seq."""
    data = json.dumps(event.document(), ensure_ascii=False, separators=(",", ":"))
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode("utf-8", "replace")


class EventStream:
    """An ASGI response; light, because thousands of them may wait at the same time."""

    def __init__(self, service: Service, task_id: str, after: int, tenant: str | None) -> None:
        self._service = service
        self._task_id = task_id
        self._after = after
        self._tenant = tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve until the task is final, the reader leaves or is too slow, or the server stops."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
        serving = asyncio.ensure_future(self._serve(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in (serving, leaving):
                part.cancel()
            with contextlib.suppress(asyncio.CancelledError, TimeoutError, TetherError, OSError):
                await serving
        with contextlib.suppress(Exception):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _serve(self, send: Send) -> None:
        async with self._service.tail.following(self._task_id) as follower:
            while not self._service.closing.is_set():
                async for page in self._news(follower):
                    async with asyncio.timeout(_SLOWEST_S):
                        await send({"type": "http.response.body", "body": page, "more_body": True})
                if await self._ended():
                    break
                await self._quiet(follower, send)

    async def _news(self, follower: Follower) -> AsyncIterator[bytes]:
        """What came since the last event sent: from the store when this reader is new or fell behind, else as handed over."""
        while follower.missed or follower.events:
            if follower.missed:
                follower.missed = False
                while events := await self._page():
                    self._after = events[-1].seq
                    yield b"".join(map(frame, events))
            waiting = [event for event in follower.events if event.seq > self._after]
            follower.events.clear()
            if waiting:
                self._after = waiting[-1].seq
                yield b"".join(map(frame, waiting))

    async def _page(self) -> list[Event]:
        service = self._service
        return await service.call(service.store.events, self._task_id, after=self._after, limit=_PAGE, tenant=self._tenant)

    async def _ended(self) -> bool:
        """Whether the task is final and all of its journal was sent."""
        states = await self._service.call(self._service.store.states, [self._task_id])
        if self._task_id in states and states[self._task_id][0] not in FINAL:
            return False
        return not await self._page()

    async def _quiet(self, follower: Follower, send: Send) -> None:
        """Wait for news, with a comment now and then so that nobody between takes the connection for dead."""
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await follower.wait()
                    return
            except TimeoutError:
                await send({"type": "http.response.body", "body": b": quiet\n\n", "more_body": True})
                if self._service.closing.is_set():
                    return


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
