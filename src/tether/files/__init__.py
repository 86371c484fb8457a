"""Files that outlive a host: artifacts, and the workspace as of each checkpoint, in a folder or an S3-compatible store."""

from __future__ import annotations

from tether.config import FilesSettings
from tether.files.objects import Objects
from tether.files.workspaces import TooLarge, Workspaces

__all__ = ["Objects", "TooLarge", "Workspaces", "open_files"]


def open_files(settings: FilesSettings) -> Workspaces | None:
    """The files of `[files] url`, None without one. Raises ConfigurationError."""
    if not settings.url:
        return None
    objects = Objects(settings)
    return Workspaces(objects, max_bytes=settings.max_mb * 1024 * 1024, max_files=settings.max_files)
