"""Dumps on local disk: durable before the kill, whatever the store does; the journal thread imports them.

Each worker has a folder of its own under one root and holds a lock in it while it lives, so the next worker of that host
finds, and imports, only what dead ones left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Spool"]

_LOCK = "lock"


class Spool:
    """The folder of one worker: a file per dump, written to a temporary name, fsynced, renamed, and the folder fsynced."""

    def __init__(self, root: Path, worker_id: str) -> None:
        self.root = root
        self.folder = root / _safe(worker_id)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self.folder)

    def write(self, task_id: str, attempt: int, record: Mapping[str, Any]) -> Path:
        """Make `record` durable; returns its file. Raises OSError when the disk is full or gone."""
        name = f"{_safe(task_id)}-{attempt}.json"
        part = self.folder / f".{name}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="replace") as file:
            json.dump(record, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        final = self.folder / name
        part.rename(final)
        _sync(self.folder)
        return final

    def left_behind(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Files and records of dead workers; an unreadable file is set aside under another name."""
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir() and path != self.folder):
            lock = _locked(folder)
            if lock is None:
                continue
            for path in sorted(folder.glob("*.json")):
                record = _read(path)
                if record is not None:
                    yield path, record
            with contextlib.suppress(OSError):
                (folder / _LOCK).unlink()
                folder.rmdir()
            os.close(lock)

    def remove(self, path: Path) -> None:
        """Forget a file that was imported."""
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the folder; it goes away when it is empty."""
        with contextlib.suppress(OSError):
            (self.folder / _LOCK).unlink()
            self.folder.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _locked(folder: Path) -> int | None:
    """A locked descriptor of the folder's lock file, or None while another process holds it."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".unreadable"))
        return None
    return record if isinstance(record, dict) else None


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
