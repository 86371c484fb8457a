"""uvicorn's HTTP protocol with bounds of its own: how many connections, how long and how large the headers may be."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["bounded"]

_MOST_HEADER_BYTES = 32 * 1024
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Bounded(HttpToolsProtocol):
    """Refuses what is too much or too slow; the figures are class attributes because uvicorn makes the instances."""

    most_connections = 0
    header_s = 0.0
    _waiting: asyncio.TimerHandle | None = None
    _unread = 0
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(_FULL)
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._got_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None and self._idle():
            self._expect_headers()
        if self._waiting is not None:
            if self._unread > _MOST_HEADER_BYTES:  # of earlier packets: this one may hold a body too
                self._refuse(_LARGE)
                return
            self._unread += len(data)
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise ValueError("the headers are too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._got_headers()
        super().on_headers_complete()

    def _idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _expect_headers(self) -> None:
        self._unread = self._header_bytes = 0
        self._waiting = self.loop.call_later(self.header_s, self._refuse, _SLOW)

    def _got_headers(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, reply: bytes) -> None:
        self._got_headers()
        if not self.transport.is_closing():
            self.transport.write(reply)
            self.transport.close()


def bounded(most_connections: int, header_s: float) -> type[asyncio.Protocol]:
    """A protocol class that refuses more connections, and closes those whose headers do not arrive within header_s."""
    return type("Bounded", (_Bounded,), {"most_connections": most_connections, "header_s": header_s})
