"""One attempt at the gateway: who may call through which listener, and everything of it that must end when it is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tether.gateway.inference import Traffic
from tether.gateway.parking import Policy

__all__ = ["MOST_CONNECTIONS", "Admission", "Bound", "Listener"]

MOST_CONNECTIONS = 256  # of one attempt at one listener


class Closable(Protocol):
    """Something that accepts connections of an attempt: its model routes (Listener), its way to the web (egress.Proxy)."""

    async def listen(self, sock: socket.socket) -> None:
        """Accept on `sock`, which belongs to it from now on."""
        ...

    def close(self) -> None:
        """Stop accepting and abort every connection."""
        ...


@dataclass(kw_only=True, eq=False)
class Bound:
    """The clock of one call under way: without an end while its client listens, `drain_s` once it left."""

    timeout: asyncio.Timeout
    gone: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(kw_only=True, eq=False)
class Admission:
    """An admitted attempt. key: "task_id/attempt", as the supervisor calls it; traffic: of agents that say nothing themselves."""

    key: str
    task_id: str
    attempt: int
    lease_token: str
    token: str = field(repr=False)
    model_default: str = "default"
    prohibited: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    traffic: Traffic | None = None
    revoked: str | None = None
    held: str | None = None
    in_flight: int = 0
    body_bytes: int = 0
    waiting: int = 0
    refusals: int = 0
    refusals_noted: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    listeners: list[Closable] = field(default_factory=list["Closable"])
    endings: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, packet: Mapping[str, Any]) -> Admission:
        """The attempt an admit packet speaks of."""
        policy = {k: v for k, v in packet.get("policy", {}).items() if k in Policy.__dataclass_fields__}
        return cls(
            key=packet["key"],
            task_id=packet["task_id"],
            attempt=packet["attempt"],
            lease_token=packet["lease_token"],
            token=packet["token"],
            model_default=packet.get("model_default") or "default",
            prohibited=tuple(packet.get("prohibited", ())),
            policy=Policy(**policy),
            traffic=Traffic() if packet.get("infer") else None,
        )

    def knows(self, token: str) -> bool:
        """Whether this is the attempt's token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def settled_one(self) -> None:
        """A call of this attempt was settled: whoever waits for room looks again."""
        self.in_flight -= 1
        self._settled.set()
        self._settled = asyncio.Event()

    async def next_settlement(self) -> None:
        """Wait until a call in flight is settled."""
        await self._settled.wait()

    async def revoke(self, why: str) -> None:
        """Close the listeners and abort every connection; calls under way are drained and settled."""
        self.revoked = self.revoked or why
        for end in self.endings:
            end()
        self.endings.clear()
        for listener in self.listeners:
            listener.close()


class Listener(web.Server):
    """HTTP on one listening socket of one attempt; tells its calls when their client leaves."""

    def __init__(self, serve: Callable[[web.BaseRequest], Any], drain_s: float) -> None:
        super().__init__(serve, access_log=None, keepalive_timeout=600.0, lingering_time=2.0, max_field_size=32_768)  # pyright: ignore[reportArgumentType]
        self._drain_s = drain_s
        self._bounds: dict[RequestHandler, Bound] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Accept on `sock`, which belongs to the listener from now on."""
        self._server = await asyncio.get_running_loop().create_server(self, sock=sock, backlog=1024)

    @contextlib.asynccontextmanager
    async def bounded(self, request: web.BaseRequest):
        """A call's clock; raises TimeoutError inside when its client left more than drain_s seconds ago."""
        async with asyncio.timeout(None) as timeout:
            bound = Bound(timeout=timeout)
            protocol = request.protocol
            self._bounds[protocol] = bound
            if request.transport is None:
                self._leave(bound)
            try:
                yield bound
            finally:
                self._bounds.pop(protocol, None)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """A client came; one too many is dropped, as descriptors are everybody's."""
        super().connection_made(handler, transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """The client left."""
        super().connection_lost(handler, exc)
        bound = self._bounds.get(handler)
        if bound is not None:
            self._leave(bound)

    def _leave(self, bound: Bound) -> None:
        bound.gone = True
        bound.left.set()
        with contextlib.suppress(RuntimeError):
            bound.timeout.reschedule(asyncio.get_running_loop().time() + self._drain_s)

    def close(self) -> None:
        """Stop accepting and abort every connection."""
        if self._server is not None:
            self._server.close()
        for protocol in self.connections:
            if protocol.transport is not None:
                protocol.transport.abort()  # pyright: ignore[reportAttributeAccessIssue] - a server's transport is not read-only
