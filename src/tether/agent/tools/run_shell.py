"""The tool run_shell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import ToolProblem, text
from tether.agent.tools.program import run_program

__all__ = ["tool"]

_MOST_BYTES = 32_000
_LONGEST = 100_000


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Run a bash command line: {exit_code, stdout, stderr}; options: shell, max_bytes (of each stream)."""
    command = text(args, "command")
    if len(command.encode("utf-8", "replace")) > _LONGEST:
        raise ToolProblem("the command is too long; write it to a file with write_file and run that")
    shell = str(options.get("shell") or "bash")
    try:
        return run_program([shell, "-c", command], workspace, b"", int(options.get("max_bytes") or _MOST_BYTES))
    except FileNotFoundError:
        raise ToolProblem(f"there is no {shell} on this machine; use run_python") from None
