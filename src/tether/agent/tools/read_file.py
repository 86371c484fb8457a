"""The tool read_file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import ToolProblem, number, text
from tether.agent.tools.workspace import open_for_reading

__all__ = ["tool"]

_LARGEST = 8 * 1024 * 1024
_MOST_CHARS = 100_000


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of a text file: {path, content, first_line, lines, more}; options: max_chars."""
    path = text(args, "path")
    first = number(args, "first_line", 1, least=1, most=10**9)
    wanted = number(args, "max_lines", 10**9, least=1, most=10**9)
    content = _content(workspace, path)
    lines = content.splitlines(keepends=True)
    shown = "".join(lines[first - 1 : first - 1 + wanted])
    most = int(options.get("max_chars") or _MOST_CHARS)
    more = len(shown) > most or first - 1 + wanted < len(lines)
    return {"path": path, "content": shown[:most], "first_line": first, "lines": len(lines), "more": more}


def _content(workspace: Path, path: str) -> str:
    with open_for_reading(workspace, path) as fd:
        size = os.fstat(fd).st_size
        if size > _LARGEST:
            raise ToolProblem(f"{path} has {size:,} bytes, over {_LARGEST:,}; look at parts of it with run_shell")
        with os.fdopen(os.dup(fd), "rb") as file:
            body = file.read(_LARGEST)
    if b"\0" in body[:8192]:
        raise ToolProblem(f"{path} is not a text file ({size:,} bytes)")
    return body.decode("utf-8", "replace")
