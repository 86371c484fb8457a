"""The tool list_files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import text
from tether.agent.tools.workspace import inside, open_folder

__all__ = ["tool"]

_MOST_FILES = 500
_MOST_DEPTH = 12


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Files below a folder: {files: [{path, bytes}], more}; options: max_files."""
    parts = inside(workspace, text(args, "path", "."))
    most = int(options.get("max_files") or _MOST_FILES)
    files: list[dict[str, Any]] = []
    with open_folder(workspace, parts) as folder:
        for path, size in _walk(folder, "/".join(parts), _MOST_DEPTH):
            if len(files) == most:
                return {"files": files, "more": True}
            files.append({"path": path, "bytes": size})
    return {"files": files, "more": False}


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    for name in sorted(os.listdir(folder)):
        path = f"{prefix}/{name}" if prefix else name
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue  # it went away while we looked
        if not stat.S_ISDIR(found.st_mode):
            yield path + ("@" if stat.S_ISLNK(found.st_mode) else ""), found.st_size
        elif depth:
            yield from _below(folder, name, path, depth - 1)


def _below(folder: int, name: str, path: str, depth: int) -> Iterator[tuple[str, int]]:
    try:
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        yield from _walk(below, path, depth)
    finally:
        os.close(below)
