"""What is done now and then: last uses of keys are written, old uploads, audit lines and ended tasks are deleted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tether.errors import TetherError
from tether.web.problems import log
from tether.web.retention import prune

if TYPE_CHECKING:
    from tether.web.service import Service

__all__ = ["Housekeeping"]

_USES_S = 15.0
_OLD_S = 3600.0
_DAY_S = 86400.0


class Housekeeping:
    """Runs beside the requests; a store that is away is tried again the next time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._loops = [asyncio.create_task(self._every(_USES_S, "uses")), asyncio.create_task(self._every(_OLD_S, "old"))]

    async def stop(self) -> None:
        """Write the last uses, and end."""
        for loop in self._loops:
            loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loop
        with contextlib.suppress(TetherError):
            await self._uses()

    async def _every(self, seconds: float, what: str) -> None:
        work = {"uses": self._uses, "old": self._old}[what]
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except TetherError as error:
                log.warning("housekeeping waits: %s", error)

    async def _uses(self) -> None:
        service = self._service
        await service.call(service.store.touch_keys, service.access.take_used())

    async def _old(self) -> None:
        service = self._service
        older_s = service.settings.journal.retain_days * _DAY_S
        await service.call(prune, service.settings, service.store, service.files, older_s, service.closing.is_set)
