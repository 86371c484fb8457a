"""Workspaces on this host: one folder per task, with marks of its worker beside it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = ["MARKS", "remove", "task_ids"]

#: What stands beside the folder under its name and one of these: which attempt had it last, a copy being restored.
MARKS = (".attempt", ".restored")
_NAME = re.compile(r"task_[0-9A-HJKMNP-TV-Z]{26}\Z")


def task_ids(workspaces: Path) -> list[str]:
    """The tasks that have a workspace here."""
    try:
        return sorted(path.name for path in workspaces.iterdir() if _NAME.match(path.name))
    except FileNotFoundError:
        return []


def remove(workspaces: Path, task_id: str) -> None:
    """Delete the workspace of a task and the marks beside it; harmless where there is none."""
    for name in (task_id, *(task_id + mark for mark in MARKS)):
        path = workspaces / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
