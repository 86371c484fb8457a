"""What an attempt writes, read without ever blocking and kept within bounds: the pipe is always drained, the rest is counted."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable

from tether.worker.loop import Loop

__all__ = ["Captured", "Pipe"]

_READ_BYTES = 65_536
_TURN_BYTES = 262_144


class Captured:
    """Text of one stream: the last `keep_bytes` of it, and what has not been journaled yet, at most `journal_bytes` in total."""

    def __init__(self, keep_bytes: int, journal_bytes: int) -> None:
        self._keep = keep_bytes
        self._left = journal_bytes
        self._tail = bytearray()
        self._fresh = bytearray()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self.total_bytes = 0
        self.dropped_bytes = 0
        self._told_bytes = 0

    def add(self, data: bytes) -> None:
        """Take what was read."""
        self.total_bytes += len(data)
        self._tail += data
        if len(self._tail) > 2 * self._keep:
            del self._tail[: -self._keep]
        taken = data[: self._left]
        self._left -= len(taken)
        self._fresh += taken
        self.dropped_bytes += len(data) - len(taken)

    def tail(self, most: int | None = None) -> str:
        """The end of the stream as text; bytes that are not UTF-8 become U+FFFD."""
        return bytes(self._tail[-(most or self._keep) :]).decode("utf-8", "replace")

    def fresh(self) -> str:
        """Text that was not handed out before."""
        data, self._fresh = bytes(self._fresh), bytearray()
        return self._decode.decode(data)

    def has_news(self) -> bool:
        """Whether there is fresh text, or more was dropped since this was asked last."""
        told, self._told_bytes = self._told_bytes, self.dropped_bytes
        return bool(self._fresh) or self.dropped_bytes > told


class Pipe:
    """The read end of a pipe in the loop: bounded reads per turn, closed at end of file."""

    def __init__(self, loop: Loop, take: Callable[[bytes], None]) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)
        self._loop = loop
        self._take = take
        self._open = True
        loop.watch(self.reader, self.read)

    def give_writer(self) -> int:
        """The write end, now the caller's to close."""
        writer, self.writer = self.writer, -1
        return writer

    def read(self) -> None:
        """Read what is there, at most a turn's worth."""
        left = _TURN_BYTES
        while self._open and left > 0:
            try:
                data = os.read(self.reader, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            left -= len(data)
            self._take(data)

    def close(self) -> None:
        """Stop reading and close both ends."""
        if self._open:
            self._open = False
            self._loop.unwatch(self.reader)
            os.close(self.reader)
        if self.writer >= 0:
            os.close(self.give_writer())
