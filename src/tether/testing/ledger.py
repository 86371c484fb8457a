"""The scripted provider's own book: every request it received, and what became of it.

Kept in memory, and in a file of JSON lines when one is named: a line when a request arrives and one when it ends, each in
a single write, so the book is true up to the moment even if everything around it is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tether.testing.script import Usage

__all__ = ["Entry", "Ledger", "auth_hash", "read_ledger"]


def auth_hash(secret: str) -> str:
    """First 16 hex digits of the SHA-256 of a key, or "" without one; keys themselves are never kept."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16] if secret else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One request. at_s: Unix time; outcome: "" while open, else answered | cut | refused | client_gone | fault:KIND."""

    number: int
    at_s: float
    route: str
    model: str
    auth: str
    stream: bool
    turn: int
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outcome: str = ""
    status: int | None = None
    usage: Usage | None = None
    reply: Mapping[str, Any] | None = None
    ended_s: float | None = None

    @property
    def answered(self) -> bool:
        """Whether the client got the whole answer."""
        return self.outcome == "answered"

    def document(self) -> dict[str, Any]:
        """The entry as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Entry:
        """The entry of a document."""
        given = dict(document)
        if given.get("usage") is not None:
            given["usage"] = Usage(**given["usage"])
        return Entry(**given)


class Ledger:
    """Entries in order of arrival; safe to read from any thread. A file that exists is continued."""

    def __init__(self, path: Path | None = None) -> None:
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._before = 0 if path is None or not path.exists() else max((e.number for e in read_ledger(path)), default=0)
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def received(self, **facts: Any) -> Entry:
        """Note a request that just came in."""
        with self._changed:
            entry = Entry(number=self._before + len(self._entries) + 1, at_s=time.time(), **facts)
            self._entries.append(entry)
            self._write(entry)
            self._changed.notify_all()
        return entry

    def ended(self, number: int, outcome: str, **facts: Any) -> None:
        """Note what became of request `number`; only the first ending counts."""
        with self._changed:
            place = number - self._before - 1
            entry = self._entries[place]
            if entry.outcome:
                return
            entry = replace(entry, outcome=outcome, ended_s=time.time(), **facts)
            self._entries[place] = entry
            self._write(entry)
            self._changed.notify_all()

    def entries(self) -> list[Entry]:
        """A copy of all entries."""
        with self._changed:
            return list(self._entries)

    def wait_for(self, condition: Callable[[list[Entry]], bool], timeout_s: float = 10.0) -> list[Entry]:
        """Wait until `condition(entries)` holds and return the entries; raises TimeoutError after `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(list(self._entries)), timeout_s):
                raise TimeoutError(f"not in the ledger after {timeout_s:g} s; it has {len(self._entries)} entries")
            return list(self._entries)

    def close(self) -> None:
        """Close the file."""
        with self._changed:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write(self, entry: Entry) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(entry.document()).encode() + b"\n")


def read_ledger(path: Path) -> list[Entry]:
    """The entries of a ledger file, each as it last stood; a half-written last line is left out."""
    entries: dict[int, Entry] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = Entry.of(json.loads(line))
            entries[entry.number] = entry
    return list(entries.values())
