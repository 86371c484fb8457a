"""Fixtures of the tests of real processes: both isolations, each with the walls this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stage import Stage, stage
from tether.agent import sandbox

MISBEHAVE = "tether.testing.misbehave"


@pytest.fixture(scope="session")
def namespaces() -> str | None:
    """Why this machine cannot put attempts into namespaces, or None."""
    return sandbox.probe()["why"].get("processes")


@pytest.fixture(params=["enforced", "cooperative"])
def isolation(request: pytest.FixtureRequest, namespaces: str | None) -> str:
    """Each isolation in turn; the enforced one only where the machine has it."""
    if request.param == "enforced" and namespaces is not None:
        pytest.skip(namespaces)
    return request.param


@pytest.fixture
def setting(isolation: str) -> Iterator[Callable[..., Stage]]:
    """Makes stages of the isolation; they end with the test."""
    with ExitStack() as ending:
        yield lambda **spec: ending.enter_context(stage(isolation, **spec))


@pytest.fixture
def code(tmp_path: Path) -> Callable[..., str]:
    """Writes files into a folder of code and returns its path."""
    folder = tmp_path / "code"
    folder.mkdir(mode=0o755)

    def write(**files: Any) -> str:
        for name, text in files.items():
            (folder / name.replace("_py", ".py")).write_text(text)
        return str(folder)

    return write
