"""The gateway's end of the socket to the supervisor: packets out in order, packets in one after another, the end told once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import Any

from tether.packets import LinkClosed, PacketError, receive, send

__all__ = ["Channel"]

Packet = tuple[dict[str, Any], list[int]]


class Channel:
    """Sends never block: what the socket does not take waits in order."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._outgoing: deque[dict[str, Any]] = deque()
        self._incoming: asyncio.Queue[Packet | None] = asyncio.Queue()
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, packet: dict[str, Any]) -> None:
        """Send, now or when there is room; lost when the supervisor is gone."""
        self._outgoing.append(packet)
        if len(self._outgoing) == 1:
            self._write()

    async def receive(self) -> Packet | None:
        """The next packet with its descriptors, or None at the end."""
        return await self._incoming.get()

    def _write(self) -> None:
        while self._outgoing:
            try:
                send(self._sock, self._outgoing[0])
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except LinkClosed:
                self._outgoing.clear()
                break
            except PacketError:
                pass  # larger than a packet may be: only an agent's link message can be, and it was bounded when it came
            self._outgoing.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        while True:
            try:
                got = receive(self._sock)
            except BlockingIOError:
                return
            except (PacketError, OSError):
                got = None  # a supervisor that talks nonsense is as good as gone
            self._incoming.put_nowait(got)
            if got is None:
                self._loop.remove_reader(self._sock.fileno())
                return


def close_all(fds: list[int]) -> None:
    """Close descriptors that came with a packet nobody wanted."""
    for fd in fds:
        os.close(fd)
