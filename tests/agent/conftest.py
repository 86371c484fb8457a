"""Fixtures for tests of agents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A warm process that forks attempts."""
    with Nursery() as nursery:
        yield nursery
