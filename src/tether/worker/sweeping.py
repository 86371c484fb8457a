"""Deletes workspaces of this host whose task was erased or pruned, by whichever process on whichever host."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tether.errors import TetherError
from tether.files import local
from tether.store.ids import made_at_ms

if TYPE_CHECKING:
    from tether.config import Settings
    from tether.store import Store

__all__ = ["EVERY_S", "sweep"]

log = logging.getLogger("tether.worker")
EVERY_S = 300.0
_DAY_MS = 86_400_000
_PAGE = 500


def sweep(settings: Settings, store: Store) -> list[str]:
    """The tasks whose workspaces were deleted; belongs in a thread.

    A task the store does not know may be another store's with the same data folder, so its workspace goes only when the task is
    as old as what is pruned.
    """
    workspaces, gone = settings.workspaces, list[str]()
    found = local.task_ids(workspaces)
    try:
        before_ms = store.now_ms() - settings.journal.retain_days * _DAY_MS
        for start in range(0, len(found), _PAGE):
            page = found[start : start + _PAGE]
            known = store.with_content(page)
            for task_id in page:
                if not known.get(task_id, made_at_ms(task_id) >= before_ms):
                    local.remove(workspaces, task_id)
                    gone.append(task_id)
    except TetherError as error:
        log.warning("workspaces are looked through later: %s", error)
    return gone
