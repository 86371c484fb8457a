"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from played import PlayedWorker
from terminal import Terminal, Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process that forks commands."""
    warm = Warm()
    yield warm
    warm.stop()


@pytest.fixture
def terminal(tmp_path: Path, warm: Warm) -> Iterator[Terminal]:
    """A terminal in an empty folder that is also the home."""
    terminal = Terminal(tmp_path, warm)
    yield terminal
    terminal.close()


@pytest.fixture
def worker(terminal: Terminal) -> Iterator[PlayedWorker]:
    """A played worker on the terminal's store."""
    store = terminal.store()
    yield PlayedWorker(store)
    store.close()
