"""Dumps on local disk: durable before the kill, whatever the store does; the journal thread imports them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Spool"]


class Spool:
    """One folder of files, one per dump; written to a temporary name, fsynced, renamed, and the folder fsynced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def write(self, task_id: str, attempt: int, record: Mapping[str, Any]) -> Path:
        """Make `record` durable; returns its file. Raises OSError when the disk is full or gone."""
        name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', task_id)}-{attempt}.json"
        part = self.folder / f".{name}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="replace") as file:
            json.dump(record, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        final = self.folder / name
        part.rename(final)
        self._sync_folder()
        return final

    def waiting(self) -> list[Path]:
        """Files not imported yet, oldest first."""
        return sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)

    def read(self, path: Path) -> dict[str, Any] | None:
        """The record of a file, or None when it is unreadable (it is then set aside under another name)."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".unreadable"))
            return None
        return record if isinstance(record, dict) else None

    def remove(self, path: Path) -> None:
        """Forget a file that was imported."""
        path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
