"""The gateway's process: configured once over the channel, then attempts come and go; it ends when the supervisor does."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import socket
from dataclasses import replace
from typing import Any

import uvloop

from tether.errors import TetherError
from tether.gateway.admission import Admission
from tether.gateway.calls import Calls
from tether.gateway.channel import Channel, close_all
from tether.gateway.egress import Proxy
from tether.gateway.ledger import Ledger
from tether.gateway.links import Links
from tether.gateway.options import GatewayOptions
from tether.gateway.parking import Parking
from tether.gateway.prices import PriceList, load_list
from tether.gateway.routes import Routes
from tether.gateway.upstream import Upstreams
from tether.packets import receive, send
from tether.store import Store, open_store

__all__ = ["Gateway", "main"]

_PR_SET_DUMPABLE = 4
_LAST_WRITES_S = 0.5


class Gateway:
    """All admitted attempts and what they share."""

    def __init__(self, options: GatewayOptions, store: Store, channel: Channel) -> None:
        self._options = options
        self._channel = channel
        self._ledger = Ledger(store)
        self._upstreams = Upstreams(options)
        self._links = Links(channel.send)
        self._parking = Parking(channel.send, most=options.max_parked, rejoin_s=options.rejoin_s)
        calls = Calls(options, PriceList(options.prices), self._ledger, self._upstreams, self._parking, channel.send)
        self._routes = Routes(options, calls, self._links, self._ledger, channel.send)
        self._admissions: dict[str, Admission] = {}
        self._holds: list[dict[str, Any]] = []

    async def serve(self) -> None:
        """Do what the supervisor says until it is gone; then refuse everything."""
        self._channel.send({"op": "ready", "pid": os.getpid()})
        while (got := await self._channel.receive()) is not None:
            packet, fds = got
            await self._obey(packet, fds)
        for admission in list(self._admissions.values()):
            await admission.revoke("the supervisor is gone")
        self._ledger.close(_LAST_WRITES_S)

    async def _obey(self, packet: dict[str, Any], fds: list[int]) -> None:
        op = packet.get("op")
        if op == "admit":
            await self._admit(packet, fds)
            return
        close_all(fds)
        if op == "revoke":
            await self._revoke(packet)
        elif op == "link_reply":
            self._links.reply(packet)
        elif op == "hold":
            self._hold(packet)
        else:
            self._decide(packet)

    def _decide(self, packet: dict[str, Any]) -> None:
        """What becomes of the held calls of an attempt, or of those that will be over budget."""
        admission = self._admissions.get(packet.get("key", ""))
        if admission is None:
            return
        if packet["op"] == "resume":
            self._parking.resume(admission.key)
        elif packet["op"] == "reject":
            self._parking.reject(admission.key, packet.get("why") or "rejected")
        elif packet["op"] == "policy":
            admission.policy = replace(admission.policy, can_checkpoint=True, records=False)

    async def _admit(self, packet: dict[str, Any], fds: list[int]) -> None:
        admission = Admission.of(packet)
        before = self._admissions.pop(admission.key, None)
        if before is not None:
            await before.revoke("admitted again")
        self._admissions[admission.key] = admission
        admission.endings.append(lambda: self._parking.end(admission.key))
        self._apply_holds(admission)
        problem = None
        for name, fd in zip(packet.get("listeners", ["gateway", "proxy"]), fds, strict=False):
            try:
                await self._open(admission, name, socket.socket(fileno=fd))
            except OSError as error:
                problem = f"the {name} listener cannot be used: {error}"
        answer = {"op": "admitted", "key": admission.key}
        self._channel.send(answer if problem is None else {**answer, "problem": problem})

    async def _open(self, admission: Admission, name: str, sock: socket.socket) -> None:
        if name == "proxy":
            listener = Proxy(admission, self._options, self._ledger, self._parking, self._channel.send, self._routes.note)
        else:
            listener = self._routes.listener(admission)
        admission.listeners.append(listener)
        await listener.listen(sock)

    async def _revoke(self, packet: dict[str, Any]) -> None:
        admission = self._admissions.pop(packet["key"], None)
        if admission is not None:
            await admission.revoke(packet.get("why") or "ended")
        self._channel.send({"op": "revoked", "key": packet["key"]})

    def _hold(self, packet: dict[str, Any]) -> None:
        """holds: the whole list in force, each {"keys": [K…] | null (all), "note"}."""
        self._holds = list(packet.get("holds", []))
        for admission in self._admissions.values():
            self._apply_holds(admission)

    def _apply_holds(self, admission: Admission) -> None:
        notes = [h.get("note") or "stopped" for h in self._holds if h.get("keys") is None or admission.key in h["keys"]]
        admission.held = notes[0] if notes else None


def main(fd: int) -> int:
    """Run on the channel `fd`; 0 when the supervisor ended it, 1 when it could not start."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # keys are in this memory; same-uid processes must not read it
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it would print requests of agents, and they may hold anything
    os.environ.setdefault("UV_THREADPOOL_SIZE", "64")  # names are resolved there
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sock = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    got = receive(sock)
    if got is None:
        return 0
    try:
        options = GatewayOptions.of(got[0])
        store = open_store(options.store_url)
    except TetherError as error:
        send(sock, {"op": "failed", "code": error.code, "problem": str(error)})
        return 1
    load_list()
    gc.collect()
    gc.freeze()  # fifty thousand objects of the price list that every full collection would walk through
    gc.set_threshold(20_000, 20, 20)
    uvloop.run(_serve(options, store, sock))
    return 0


async def _serve(options: GatewayOptions, store: Store, sock: socket.socket) -> None:
    gateway = Gateway(options, store, Channel(sock))
    task = asyncio.ensure_future(gateway.serve())
    await task
    os._exit(0)  # nothing may keep a gateway without a supervisor alive, not even a call under way
