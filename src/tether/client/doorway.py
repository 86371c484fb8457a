"""How a client finds the server of the same user: the 0600 file that `tether api` and `tether up` write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FILE", "Doorway", "doorway", "process_mark"]

FILE = "api.json"


@dataclass(frozen=True, kw_only=True)
class Doorway:
    """Where the server is and the key that opens it."""

    url: str
    key: str


def doorway(home: Path, *, alive: bool = True) -> Doorway | None:
    """The server of this data folder; with alive, only while its process lives."""
    try:
        found = json.loads((home / FILE).read_text())
        url, key, process = str(found["url"]), str(found["key"]), str(found["process"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if alive and process_mark(int(process.partition(":")[0])) != process:
        return None
    return Doorway(url=url, key=key)


def process_mark(pid: int) -> str:
    """A process by number and start time, so that a number used again is not taken for it; empty when it is gone."""
    try:
        return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""
