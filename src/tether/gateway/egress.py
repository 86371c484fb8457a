"""The way to the web: a small forward proxy per attempt that counts before it connects and goes only where it may.

Plain HTTP is one request per connection, so its count is exact; CONNECT counts connections, as nobody sees into TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tether.errors import StoreUnavailable
from tether.events import NewEvent
from tether.gateway.addresses import Denied, check_target, matches, resolve
from tether.gateway.admission import MOST_CONNECTIONS, Admission
from tether.gateway.forwarding import TooLarge, Traffic, forward, tunnel
from tether.gateway.heads import MOST_HEAD_BYTES, BadHead, RequestHead, parse_request, read_head
from tether.gateway.ledger import Ledger
from tether.gateway.options import GatewayOptions
from tether.gateway.parking import Parking, fingerprint
from tether.gateway.refusals import Refusal, held, no_room, store_away
from tether.store.rows import Refused, Reserve, Settle

__all__ = ["Proxy"]

_HEAD_S = 30.0
_CONNECT_S = 10.0
_LINGER_S = 1.0
_RESOLVE_AT_ONCE = 8  # names that resolve slowly must not keep the resolver's threads from other attempts


class Unreached(Exception):
    """The server could not be connected to: nothing was sent."""


@dataclass(kw_only=True, eq=False)
class Visit:
    """One web request under way."""

    head: RequestHead
    call_id: str
    nanousd: int
    started_at: float
    traffic: Traffic
    outcome: str = "error"
    dispatched: bool = True


class Proxy:
    """The proxy of one attempt on one listening socket."""

    def __init__(
        self,
        admission: Admission,
        options: GatewayOptions,
        ledger: Ledger,
        parking: Parking,
        tell: Callable[[dict[str, Any]], None],
        note: Callable[[Admission, Refusal], None],
    ) -> None:
        self._admission = admission
        self._options = options
        self._ledger = ledger
        self._parking = parking
        self._tell = tell
        self._note = note
        self._server: asyncio.Server | None = None
        self._resolving = asyncio.Semaphore(_RESOLVE_AT_ONCE)
        self._visits: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket) -> None:
        """Accept on `sock`, which belongs to the proxy from now on."""
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=MOST_HEAD_BYTES, backlog=1024)

    def close(self) -> None:
        """Stop accepting and abort every connection; what was counted is settled."""
        if self._server is not None:
            self._server.close()
        for task in self._visits:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._visits) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._visits.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._visits.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_S):
                raw = await read_head(reader)
            if raw is None:
                return
            head = parse_request(raw)
            self._authorise(head)
            addresses = await self._addresses(head)
            visit = await self._reserve(head, raw, writer)
        except BadHead as error:
            await _say(reader, writer, 400, "bad_request", str(error))
        except Refusal as refusal:
            self._note(self._admission, refusal)
            await _say(reader, writer, refusal.status, refusal.code, str(refusal))
        else:
            await self._visit(visit, addresses, reader, writer)

    def _authorise(self, head: RequestHead) -> None:
        if not self._admission.knows(head.token):
            raise Refusal(407, "wrong_token", "the proxy needs this attempt's token: use HTTP_PROXY as it was given")
        if self._admission.revoked:
            raise Refusal(403, "revoked", self._admission.revoked, limit="revoked")

    async def _addresses(self, head: RequestHead) -> list[tuple[int, str]]:
        try:
            check_target(head.target, self._options.egress, self._admission.prohibited)
            async with asyncio.timeout(_CONNECT_S), self._resolving:
                return await resolve(head.target, self._options.egress)
        except Denied as error:
            raise Refusal(403, "prohibited_host", str(error)) from None
        except TimeoutError:
            raise Refusal(504, "no_address", f"{head.target.host} was not resolved in {_CONNECT_S:g} s") from None

    # --- counting -----------------------------------------------------------------------------------------------------

    async def _reserve(self, head: RequestHead, raw: bytes, writer: asyncio.StreamWriter) -> Visit:
        """Count the request; over budget, or stopped, it is held where the agent could not go on without. Raises Refusal."""
        admission = self._admission
        while True:
            try:
                return await self._count(head)
            except Refusal as refusal:
                place, call_id = fingerprint("web", raw), f"web_{os.urandom(9).hex()}"
                await self._parking.hold(admission.key, admission.policy, call_id, place, refusal, asyncio.Event())
            if writer.transport.is_closing():
                raise ConnectionError("the client left while its request was held")

    async def _count(self, head: RequestHead) -> Visit:
        admission = self._admission
        if admission.held is not None:
            raise held(admission.held)
        visit = Visit(
            head=head,
            call_id=f"web_{os.urandom(9).hex()}",
            nanousd=self._price(head.target.host),
            started_at=time.monotonic(),
            traffic=Traffic(most=self._options.egress.max_bytes),
        )
        item = Reserve(
            kind="web",
            task_id=admission.task_id,
            lease_token=admission.lease_token,
            attempt=admission.attempt,
            call_id=visit.call_id,
            name=head.target.host,
            hold_nanousd=visit.nanousd,
        )
        try:
            granted = await self._ledger.reserve(item)
        except StoreUnavailable as error:
            raise store_away(error) from None
        if isinstance(granted, Refused):
            raise no_room(granted)
        return visit

    def _price(self, host: str) -> int:
        prices = [(len(name), nanousd) for name, nanousd in self._options.web_prices.items() if matches(host, (name,))]
        return max(prices)[1] if prices else 0

    async def _visit(
        self, visit: Visit, addresses: list[tuple[int, str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        problem = None
        try:
            async with asyncio.timeout(self._options.egress.timeout_s):
                await self._exchange(visit, addresses, reader, writer)
            visit.outcome = "ok"
        except Unreached as error:
            visit.dispatched, problem = False, (502, "unreachable", str(error))
        except TimeoutError:
            visit.outcome, problem = "timeout", (504, "timeout", f"no end after {self._options.egress.timeout_s:g} s")
        except TooLarge:
            visit.outcome, problem = "too_large", (502, "too_large", f"more than {visit.traffic.most:,} bytes")
        except (BadHead, ConnectionError) as error:
            problem = (502, "bad_answer", str(error) or "the connection broke")
        finally:
            self._settle(visit)
        if problem is not None and not visit.traffic.answered:
            await _say(reader, writer, *problem)
        elif problem is not None:
            writer.transport.abort()  # a clean end would pass for the whole answer

    async def _exchange(
        self, visit: Visit, addresses: list[tuple[int, str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        up_reader, up_writer = await _connect(addresses, visit.head.target.port)
        try:
            if visit.head.method == "CONNECT":
                await tunnel(visit.traffic, reader, writer, up_reader, up_writer)
            else:
                await forward(visit.head, visit.traffic, reader, writer, up_reader, up_writer)
        finally:
            up_writer.transport.abort()

    def _settle(self, visit: Visit) -> None:
        traffic, head = visit.traffic, visit.head
        nanousd = visit.nanousd if visit.dispatched else 0
        data = {
            "call_id": visit.call_id,
            "host": head.target.host,
            "port": head.target.port,
            "method": head.method,
            "status": traffic.status,
            "sent_bytes": traffic.sent,
            "received_bytes": traffic.received,
            "outcome": visit.outcome,
            "nanousd": nanousd,
            "took_ms": round((time.monotonic() - visit.started_at) * 1000),
        }
        item = Settle(
            task_id=self._admission.task_id,
            call_id=visit.call_id,
            nanousd=nanousd,
            outcome=visit.outcome,
            status=traffic.status,
            name=head.target.host,
            dispatched=visit.dispatched,
            event=NewEvent(type="web_request", attempt=self._admission.attempt, data=data),
        )
        packet = {"op": "web", "key": self._admission.key, **data}
        self._ledger.settle(item).add_done_callback(lambda _: self._tell(packet))


async def _connect(addresses: list[tuple[int, str]], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first checked address that answers; never to a name, which might resolve to something else now."""
    problem = "no address"
    for family, address in addresses:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.open_connection(address, port, family=family, limit=MOST_HEAD_BYTES)
        except (OSError, TimeoutError) as error:
            problem = str(error) or "no answer"
    raise Unreached(problem)


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, code: str, message: str) -> None:
    """An answer of the proxy's own; what the client still sends is read for a moment, or a reset would destroy the answer."""
    body = f"{code}: {message}\n".encode()
    extra = 'Proxy-Authenticate: Basic realm="tether"\r\n' if status == 407 else ""
    head = f"HTTP/1.1 {status} {code}\r\n{extra}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}X-Tether-Refusal: {code}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()
    with contextlib.suppress(TimeoutError, OSError):
        writer.write_eof()
        async with asyncio.timeout(_LINGER_S):
            while await reader.read(MOST_HEAD_BYTES):
                pass
