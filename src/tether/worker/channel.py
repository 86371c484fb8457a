"""A packet socket in the loop: sends never block and keep their order, reads are bounded per turn."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tether import packets
from tether.worker.loop import Loop

__all__ = ["Channel"]

_PACKETS_PER_TURN = 32
_RETRY_S = 0.005
_MOST_UNSENT = 10_000


class Channel:
    """`take` gets each packet and its descriptors (which it closes), `closed` is called once when the other end is gone.

    A packet that is not acceptable is reported as {"op": "bad_packet", "problem": …}.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, take: Callable[[dict[str, Any], list[int]], None], closed: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock: socket.socket | None = sock
        self._take = take
        self._closed = closed
        self._unsent: deque[tuple[dict[str, Any], list[int]]] = deque()
        loop.watch(sock.fileno(), self._read)

    def send(self, packet: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send now or, while the other end does not read, soon; descriptors are duplicated. Dropped when it is closed."""
        if self._sock is None:
            return
        if not self._unsent and self._sent(packet, fds):
            return
        self._unsent.append((packet, [os.dup(fd) for fd in fds]))
        if len(self._unsent) > _MOST_UNSENT:
            self._lost()
        elif len(self._unsent) == 1:
            self._loop.after(_RETRY_S, self._flush)

    def close(self) -> None:
        """Close our end; `closed` is not called."""
        if self._sock is not None:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None
        for _, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()

    def _sent(self, packet: dict[str, Any], fds: Sequence[int]) -> bool:
        assert self._sock is not None
        try:
            packets.send(self._sock, packet, fds)
        except BlockingIOError:
            return False
        except packets.LinkClosed:
            # The reader side sees the end of file and reports it; a write to a dead peer is not news.
            return True
        return True

    def _flush(self) -> None:
        while self._unsent and self._sock is not None:
            packet, fds = self._unsent[0]
            if not self._sent(packet, fds):
                self._loop.after(_RETRY_S, self._flush)
                return
            self._unsent.popleft()
            for fd in fds:
                os.close(fd)

    def _read(self) -> None:
        for _ in range(_PACKETS_PER_TURN):
            if self._sock is None:
                return
            try:
                got = packets.receive(self._sock)
            except BlockingIOError:
                return
            except packets.PacketError as error:
                self._take({"op": "bad_packet", "problem": str(error)}, [])
                continue
            if got is None:
                self._lost()
                return
            self._take(*got)

    def _lost(self) -> None:
        self.close()
        self._closed()
