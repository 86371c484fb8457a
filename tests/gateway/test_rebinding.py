"""A name whose address changes between check and connection: the address that was checked is the one that is connected to."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from rig import Rig
from tether.gateway.admission import Admission
from tether.gateway.egress import Proxy
from tether.gateway.ledger import Ledger
from tether.gateway.options import EgressOptions, GatewayOptions
from tether.gateway.parking import Parking

NAME = "moving.example"


class TurningLoop(asyncio.SelectorEventLoop):
    """An event loop with an attacker's name server behind it: each question gets the next answer."""

    def __init__(self, answers: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self._answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_more: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Addresses of a name, as the system's resolver gives them."""
        self.asked.append(str(host))
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(_family(address), socket.SOCK_STREAM, 6, "", (address, port)) for address in given]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Neighbour:
    """A server that tells on which address it was met."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.met = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self.met += 1
        await reader.readuntil(b"\r\n\r\n")
        body = self.address.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


def _listening(addresses: Sequence[str]) -> list[socket.socket]:
    """A socket on each address, all on one port."""
    sockets: list[socket.socket] = []
    port = 0
    for address in addresses:
        sock = socket.socket(_family(address))
        if _family(address) is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        port = sock.getsockname()[1]
        sockets.append(sock)
    return sockets


async def _asked(rig: Rig, egress: EgressOptions, target: str, method: str) -> bytes:
    """What a proxy says to one request (through a tunnel, for CONNECT)."""
    claim = rig.lease()
    packet = {"key": claim.task_id, "task_id": claim.task_id, "attempt": 1, "lease_token": claim.lease_token, "token": "tth_1"}
    ledger, parking = Ledger(rig.store), Parking(lambda _: None, most=1, rejoin_s=1)
    options = GatewayOptions(store_url=rig.url, models={}, egress=egress)
    proxy = Proxy(Admission.of(packet), options, ledger, parking, lambda _: None, lambda *_: None)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    port = sock.getsockname()[1]
    await proxy.listen(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = base64.b64encode(b"t:tth_1").decode()
    where = f"http://{target}/" if method == "GET" else target
    writer.write(f"{method} {where} HTTP/1.1\r\nProxy-Authorization: Basic {token}\r\n\r\n".encode())
    if method == "CONNECT":
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    proxy.close()
    await asyncio.to_thread(ledger.close, 10)
    return said


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    """A store with tasks; the proxy is in this process."""
    made = Rig(tmp_path, {"models": {}})
    yield made
    made.stop()


def _with(loop: TurningLoop, work: Any) -> Any:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize("checked", ["127.0.0.2", "::1"])
def test_the_address_checked_is_the_address_connected_to(rig: Rig, checked: str, method: str) -> None:
    """The name is asked for once; what it would answer next is never met."""
    addresses = (checked, "127.0.0.1")
    neighbours = [Neighbour(address) for address in addresses]
    sockets = _listening(addresses)
    target = f"{NAME}:{sockets[0].getsockname()[1]}"
    loop = TurningLoop([[checked], ["127.0.0.1"]])

    async def work() -> bytes:
        async with AsyncExitStack() as stack:
            for neighbour, sock in zip(neighbours, sockets, strict=True):
                await stack.enter_async_context(await asyncio.start_server(neighbour.serve, sock=sock))
            return await _asked(rig, EgressOptions(allow_private=(target,)), target, method)

    said = _with(loop, work())
    assert said.endswith(checked.encode()), said
    assert [neighbour.met for neighbour in neighbours] == [1, 0]
    assert loop.asked == [NAME]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"], ["93.184.215.14"]],
        [["::1"], ["2606:4700::1111"]],
        [["93.184.215.14", "127.0.0.1"]],
        [["2606:4700::1111", "::ffff:169.254.169.254"]],
        [["93.184.215.14", "64:ff9b::a9fe:a9fe"]],
    ],
)
def test_one_inward_answer_refuses_the_name(rig: Rig, answers: list[list[str]], method: str) -> None:
    """A name with any address inward is refused, whatever its other addresses are and whatever it says afterwards."""
    loop = TurningLoop(answers)
    said = _with(loop, _asked(rig, EgressOptions(), f"{NAME}:80", method))
    assert said.startswith(b"HTTP/1.1 403 "), said
    assert b"prohibited_host" in said
    assert loop.asked == [NAME]
