"""What docs/how-to/test-your-agent.md shows works as shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tether.testing.script import FAULTS, script_from_json

TEXT = (Path(__file__).resolve().parents[2] / "docs/how-to/test-your-agent.md").read_text()


def test_examples_run() -> None:
    """Every Python example of the page runs, and its tests pass."""
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        names: dict[str, Any] = {}
        exec(code, names)
        for name, value in list(names.items()):
            if name.startswith("test_"):
                value()


def test_json_scripts_are_scripts() -> None:
    """Every JSON example of the page is a script."""
    examples = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert examples
    for text in examples:
        assert callable(script_from_json(text))
        assert json.loads(text)


def test_every_fault_is_explained() -> None:
    """The page has a row for each kind of fault."""
    table = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    assert [kind for kind in FAULTS if f"`{kind}`" not in table] == []
