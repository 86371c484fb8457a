"""Carrying the bytes of one web request: a plain request with its answer, or a tunnel; counted and bounded both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from tether.gateway.heads import BadHead, RequestHead, parse_response, read_head

__all__ = ["TooLarge", "Traffic", "forward", "tunnel"]

_CHUNK = 64 * 1024
_LINGER_S = 5.0


class TooLarge(Exception):
    """More bytes went by than one request may move."""


@dataclass(kw_only=True, eq=False)
class Traffic:
    """Bytes moved, against `most` each way; answered: the client has got some of the answer."""

    most: int
    sent: int = 0
    received: int = 0
    status: int | None = None
    answered: bool = False

    def add(self, *, sent: int = 0, received: int = 0) -> None:
        """Count; raises TooLarge."""
        self.sent += sent
        self.received += received
        if max(self.sent, self.received) > self.most:
            raise TooLarge


async def forward(
    head: RequestHead,
    traffic: Traffic,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """Send exactly one request and bring its answer back. Raises TooLarge, BadHead, ConnectionError."""
    up_writer.write(head.outgoing())
    await _both(
        _send_body(head, traffic, reader, writer, up_writer), _bring_answer(head, traffic, up_reader, writer), linger_s=None
    )


async def _both(up: Coroutine[Any, Any, None], down: Coroutine[Any, Any, None], *, linger_s: float | None) -> None:
    """Both ways until the answer is there or either fails; linger_s: how long the answer may go on after the client's end."""
    sending, bringing = asyncio.ensure_future(up), asyncio.ensure_future(down)
    try:
        await asyncio.wait((sending, bringing), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            await asyncio.wait((bringing,), timeout=linger_s)
        if bringing.done():
            bringing.result()
    finally:
        for task in (sending, bringing):
            task.cancel()
        await asyncio.gather(sending, bringing, return_exceptions=True)


async def _send_body(
    head: RequestHead,
    traffic: Traffic,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_writer: asyncio.StreamWriter,
) -> None:
    if head.expects_continue:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if head.length is None:
        await _send_chunks(traffic, reader, up_writer)
    else:
        await _send_exactly(head.length, traffic, reader, up_writer)


async def _send_exactly(length: int, traffic: Traffic, reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> None:
    while length > 0:
        data = await reader.read(min(length, _CHUNK))
        if not data:
            raise ConnectionError("the client left in the middle of its request")
        length -= len(data)
        traffic.add(sent=len(data))
        up_writer.write(data)
        await up_writer.drain()


async def _send_chunks(traffic: Traffic, reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> None:
    """Pass chunk after chunk, each one re-framed, so that nothing follows the last one."""
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            raise BadHead("not a chunk") from None
        if size < 0:
            raise BadHead("not a chunk")
        up_writer.write(b"%x\r\n" % size)
        await _send_exactly(size, traffic, reader, up_writer)
        if size == 0:
            up_writer.write(b"\r\n")
            return
        if await reader.readexactly(2) != b"\r\n":
            raise BadHead("not the end of a chunk")
        up_writer.write(b"\r\n")


async def _bring_answer(
    head: RequestHead, traffic: Traffic, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    answer = None
    while answer is None or answer.status < 200:  # interim answers are not for the client, who got its own
        raw = await read_head(up_reader)
        if raw is None:
            raise ConnectionError("the server ended the connection without an answer")
        traffic.add(received=len(raw))
        answer = parse_response(raw, head.method)
        if answer.status == 101:
            raise BadHead("the server wants another protocol")
    traffic.status, traffic.answered = answer.status, True
    writer.write(answer.outgoing())
    left = answer.length
    while left is None or left > 0:
        data = await up_reader.read(_CHUNK if left is None else min(left, _CHUNK))
        if not data:
            if left is None:
                break
            raise ConnectionError("the server ended the connection in the middle of its answer")
        left = None if left is None else left - len(data)
        traffic.add(received=len(data))
        writer.write(data)
        await writer.drain()
    await writer.drain()


async def tunnel(
    traffic: Traffic,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    """Bytes both ways until the server or the client ends it. Raises TooLarge, ConnectionError."""
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    traffic.status, traffic.answered = 200, True

    async def up() -> None:
        while data := await reader.read(_CHUNK):
            traffic.add(sent=len(data))
            up_writer.write(data)
            await up_writer.drain()
        if up_writer.can_write_eof():
            up_writer.write_eof()

    async def down() -> None:
        while data := await up_reader.read(_CHUNK):
            traffic.add(received=len(data))
            writer.write(data)
            await writer.drain()

    await _both(up(), down(), linger_s=_LINGER_S)
