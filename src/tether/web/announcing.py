"""Waking workers through the broker after a submission; without a broker they look for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.errors import ConfigurationError
from tether.web.problems import log

if TYPE_CHECKING:
    from tether.config import Settings
    from tether.queue.announcing import Announcer
    from tether.store import Store
    from tether.task import TaskDocument

__all__ = ["Announcements"]


class Announcements:
    """The announcer of this process, when a broker is configured; nobody waits for it and it fails nobody."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._announcer: Announcer | None = None

    def start(self) -> None:
        """Begin to publish; it also sweeps what others left in the outbox."""
        if not self._settings.queue.url:
            return
        from tether.queue import open_queue
        from tether.queue.announcing import Announcer

        try:
            self._announcer = Announcer(open_queue(self._settings.queue), self._store)
        except ConfigurationError as error:
            log.warning("tasks are announced by workers only: %s", error)
            return
        self._announcer.start()

    async def stop(self) -> None:
        """End; what is not published yet is left to sweepers."""
        if self._announcer is not None:
            self._announcer.close()

    def offer(self, task: TaskDocument) -> None:
        """Announce a queued task soon."""
        if self._announcer is None:
            return
        from tether.store.rows import Wake

        self._announcer.offer([Wake(task_id=task.id, agent=task.agent, tenant=task.tenant, priority=task.priority)])
