"""Which clock decides: the store's for everything hosts must agree on, a host's monotonic one for its own deadlines."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src" / "tether"
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}


@pytest.mark.parametrize("package", ["store", "worker", "queue", "files"])
def test_no_wall_clock_decides_anything_between_hosts(package: str) -> None:
    """A host whose clock is wrong by hours changes no lease, no back-off, no wait and no deadline: nobody reads it."""
    read = [
        f"{path.name}:{node.lineno}"
        for path in (SOURCES / package).rglob("*.py")
        if path.name != "ids.py"  # the time in an id only sorts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL
    ]
    assert read == []
