"""Server-sent events as they come over the wire: lines in, events out. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tether.client import documents
from tether.events import Event

__all__ = ["Lines"]

_MOST_CHARS = 32 * 1024 * 1024


class Lines:
    """Gathers the lines of one stream."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._size = 0

    def feed(self, line: str) -> Iterator[Event]:
        """The event that this line completes, if it does. Raises ValueError for what is not one."""
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
            self._size += len(line)
            if self._size > _MOST_CHARS:
                raise ValueError("an event without end")
        elif not line and self._data:
            text, self._data, self._size = "\n".join(self._data), [], 0
            yield documents.event(json.loads(text))
