"""Files that go with a task: found from where it is submitted, because the worker's folder is another."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tether.errors import ValidationError
from tether.task import Task

__all__ = ["located"]

_UPLOADED = "upload:"


def located(task: Task) -> Task:
    """The task with absolute paths of its local files; raises ValidationError for one that cannot be read or leads elsewhere."""
    if not task.files:
        return task
    return replace(task, files={name: _located(name, source) for name, source in task.files.items()})


def _located(name: str, source: str) -> str:
    if Path(name).is_absolute() or ".." in Path(name).parts or name in ("", "."):
        raise ValidationError(f"files.{name}", "leads out of the workspace", "use a relative path without ..")
    if source.startswith(_UPLOADED):
        return source
    path = Path(source).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValidationError(f"files.{name}", f"{source!r} is not a file that can be read", "check the path")
    return str(path)
