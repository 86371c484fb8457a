"""The tool write_file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import ToolProblem, text
from tether.agent.tools.workspace import open_for_writing

__all__ = ["tool"]

_LARGEST = 8 * 1024 * 1024


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a text file: {path, bytes}; options: max_bytes."""
    path = text(args, "path")
    body = text(args, "content").encode("utf-8", "replace")
    most = int(options.get("max_bytes") or _LARGEST)
    if len(body) > most:
        raise ToolProblem(f"{len(body):,} bytes are over {most:,}; write the file in parts with run_python")
    with open_for_writing(workspace, path) as fd, os.fdopen(os.dup(fd), "wb") as file:
        file.write(body)
    return {"path": path, "bytes": len(body)}
