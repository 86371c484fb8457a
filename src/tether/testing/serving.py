"""An aiohttp application served from a thread of its own on a loopback port; the base of the real fakes in this package."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

__all__ = ["Serving"]

_START_S = 10.0


class Serving(ABC):
    """Serves while entered: `with … as it: it.url`. port 0: any free one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def app(self) -> web.Application:
        """The application to serve; made in the serving thread."""

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start serving; returns once the port is open, raises OSError when it cannot be."""
        ready: list[BaseException | None] = []
        opened = threading.Event()

        def report(error: BaseException | None) -> None:
            ready.append(error)
            opened.set()

        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(report)), name=type(self).__name__, daemon=True)
        self._thread.start()
        if not opened.wait(_START_S):
            raise OSError(f"{type(self).__name__} did not open its port within {_START_S:g} s")
        if ready[0] is not None:
            raise ready[0]
        return self

    def stop(self) -> None:
        """Stop serving; open requests are cut."""
        if self.loop is not None and self._ended is not None and self._thread is not None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(_START_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def _serve(self, report: Callable[[BaseException | None], None]) -> None:
        self.loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        # handler_cancellation: a client that leaves ends its request at once, so a hanging answer ends with its client
        try:
            runner = web.AppRunner(self.app(), handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        except Exception as error:
            return report(error)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024)
            await site.start()
            self.port = int(runner.addresses[0][1])
            report(None)
            await self._ended.wait()
        except OSError as error:
            report(error)
        finally:
            await runner.cleanup()
