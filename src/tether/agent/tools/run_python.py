"""The tool run_python."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import text
from tether.agent.tools.program import run_program

__all__ = ["tool"]

_MOST_BYTES = 32_000


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Run Python code: {exit_code, stdout, stderr}; options: python (interpreter), max_bytes (of each stream)."""
    code = text(args, "code").encode("utf-8", "replace")
    python = str(options.get("python") or sys.executable)
    # On stdin, because a program of more than 128 KiB is no argument the kernel takes.
    return run_program([python, "-u", "-"], workspace, code, int(options.get("max_bytes") or _MOST_BYTES))
