"""Deleting what is old: ended tasks with their files, audit lines, deliveries, uploads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from tether.config import Settings
from tether.errors import NotFound
from tether.files import local
from tether.files.workspaces import Workspaces
from tether.store import Store
from tether.uploads import folder

__all__ = ["Pruned", "erase_files", "prune"]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """How many of each were deleted."""

    tasks: int
    lines: int
    files: int


def prune(
    settings: Settings, store: Store, files: Workspaces | None, older_s: float, stop: Callable[[], bool] = lambda: False
) -> Pruned:
    """Delete what is older than older_s seconds, in short transactions; `stop` is asked between them."""
    tasks = uploads = 0
    while not stop() and (ended := store.prune_ended(older_s)):
        tasks += len(ended)
        for task_id in ended:
            erase_files(settings, files, task_id)
    lines = store.prune_access(older_s)
    while not stop() and (old := store.old_uploads(older_s)):
        uploads += len(old)
        for upload_id in old:
            with contextlib.suppress(NotFound):
                store.forget_upload(upload_id)
            (folder(settings) / upload_id).unlink(missing_ok=True)
    return Pruned(tasks=tasks, lines=lines, files=uploads)


def erase_files(settings: Settings, files: Workspaces | None, task_id: str) -> None:
    """The task's workspace on this host, and what the [files] store keeps of it; workers of other hosts see to theirs."""
    local.remove(settings.workspaces, task_id)
    if files is not None:
        files.forget(task_id)
