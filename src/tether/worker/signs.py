"""Signs of life for service managers: two files whose age says whether the worker turns, and whether it takes work.

`DATA/workers/ID.alive` is touched by the loop every second, whatever the store does; `ID.ready` with every lease that the store
granted, and removed when the worker drains. `find DATA/workers -name '*.ready' -mmin -0.2 | grep -q .` is a probe without Python.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["Signs"]


class Signs:
    """The two files of one worker; a full disk or a removed folder changes nothing but them."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._alive = folder / f"{worker_id}.alive"
        self._ready = folder / f"{worker_id}.ready"
        self._draining = False
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def alive(self) -> None:
        """The loop turns."""
        _touch(self._alive)

    def ready(self) -> None:
        """The store granted a lease."""
        if not self._draining:
            _touch(self._ready)

    def draining(self) -> None:
        """No more work is taken."""
        self._draining = True
        _remove(self._ready)

    def close(self) -> None:
        """The worker ends."""
        self.draining()
        _remove(self._alive)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.touch()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
