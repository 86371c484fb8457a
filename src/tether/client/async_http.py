"""The way over HTTP for asyncio: the same requests, waiting without a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from tether.client import calls
from tether.client.calls import Call
from tether.client.http import back_off_s, options, read
from tether.client.server_sent import Lines
from tether.errors import ServerUnavailable, TetherError
from tether.lifecycle import FINAL

if TYPE_CHECKING:
    from tether.events import Event

__all__ = ["AsyncHttp"]

T = TypeVar("T")
_QUIET_S = 45.0


class AsyncHttp:
    """Requests to a server. timeout_s bounds one request with its retries, max_retries their number."""

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._client = httpx2.AsyncClient(**options(base_url, api_key, timeout_s))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def perform(self, call: Call[T]) -> T:
        """The answer; sent again with back-off where that does no harm."""
        deadline = time.monotonic() + self._timeout_s + call.wait_s
        for tries in range(self._max_retries + 1):
            try:
                return await self._once(call)
            except TetherError as error:
                wait_s = back_off_s(tries, error)
                late = time.monotonic() + wait_s > deadline
                if late or tries == self._max_retries or not call.again(error):
                    raise
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _once(self, call: Call[T]) -> T:
        given: dict[str, Any] = {"params": dict(call.query), "headers": dict(call.headers)}
        if call.body is not None:
            given["json"] = call.body
        try:
            response = await self._client.request(call.method, call.path, timeout=self._timeout_s + call.wait_s, **given)
        except httpx2.HTTPError as error:
            raise calls.error_without_answer(self._base_url, error or type(error).__name__) from None
        return read(call, response, self._base_url)

    async def follow(self, task_id: str, after: int) -> AsyncIterator[Event]:
        """Server-sent events that go on where they broke off, until the task is final."""
        heard, tries = time.monotonic(), 0
        while True:
            try:
                async for event in self._stream(task_id, after):
                    after, heard, tries = event.seq, time.monotonic(), 0
                    yield event
                final = (await self.perform(calls.get(task_id))).state in FINAL
                if final and not await self.perform(calls.events(task_id, after, 1)):
                    return
                heard = time.monotonic()
            except ServerUnavailable:
                if time.monotonic() - heard > self._timeout_s + _QUIET_S:
                    raise
            await asyncio.sleep(back_off_s(tries))
            tries += 1

    async def _stream(self, task_id: str, after: int) -> AsyncIterator[Event]:
        path, lines = calls.events(task_id, 0, 1).path, Lines()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        try:
            async with self._client.stream("GET", path, headers=headers, timeout=_QUIET_S) as response:
                if not response.is_success:
                    await response.aread()
                    read(calls.get(task_id), response, self._base_url)
                async for line in response.aiter_lines():
                    for event in lines.feed(line):
                        yield event
        except (httpx2.HTTPError, ValueError) as error:
            raise calls.error_without_answer(self._base_url, error or type(error).__name__) from None
