"""Where uploaded files lie, and what `upload:ID` in a task's files stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tether.errors import ValidationError

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["folder", "source"]

_NAMED = re.compile(r"upload:(upload_[0-9A-Z]{26})\Z")


def folder(settings: Settings) -> Path:
    """The folder of uploaded files, one file per id."""
    return settings.home / "uploads"


def source(settings: Settings, name: str) -> str:
    """The local path of a task's file: of the upload when it is `upload:ID`, else the path itself; raises ValidationError."""
    if not name.startswith("upload:"):
        return name
    found = _NAMED.match(name)
    path = folder(settings) / found[1] if found else None
    if path is None or not path.is_file():
        raise ValidationError("files", f"{name} is not here", "upload it again, or share the data folder between hosts")
    return str(path)
