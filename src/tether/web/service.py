"""What the routes share: configuration, store behind a bounded pool of threads, vault, submissions, the tail of the journal."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection

from tether.errors import ServerUnavailable, TetherError
from tether.lifecycle import State
from tether.store.access_rows import NewAudit
from tether.store.rows import Wake

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tether.config import Settings
    from tether.files.workspaces import Workspaces
    from tether.queue.announcements import Announcements
    from tether.secrets import Vault
    from tether.store import Store
    from tether.task import TaskDocument
    from tether.web.access import Access, Caller
    from tether.web.submissions import Submissions
    from tether.web.tail import JournalTail

__all__ = ["Desk", "Service", "Threads", "service_of"]

P = ParamSpec("P")
T = TypeVar("T")
_WAITING_PER_THREAD = 64
_SERVED_S = 2.0


class Threads:
    """Runs the synchronous store; refuses instead of queueing without end."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="store")
        self._most = count * _WAITING_PER_THREAD
        self._open = 0

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work` in a thread; raises ServerUnavailable when too many wait already."""
        if self._open >= self._most:
            raise ServerUnavailable("too many requests wait for the store; try again", 503)
        self._open += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))
        future.add_done_callback(self._done)
        # shielded: a client that leaves must not make the pool look free while its thread still works
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._open -= 1
        if not future.cancelled():
            future.exception()

    def close(self) -> None:
        """Let what runs end; nothing new starts."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(kw_only=True)
class Service:
    """One per process; made by tether.web.app.create_app."""

    settings: Settings
    store: Store
    threads: Threads
    vault: Vault
    access: Access
    submissions: Submissions
    tail: JournalTail
    announcements: Announcements
    files: Workspaces | None
    closing: threading.Event
    address: str = ""
    _served: tuple[frozenset[str], float] = (frozenset(), 0.0)
    _asking: asyncio.Task[frozenset[str]] | None = None

    @property
    def url(self) -> str:
        """How others reach this server."""
        return self.settings.api.public_url or self.address

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a store method in a thread."""
        return await self.threads.call(work, *args, **kwargs)

    async def served(self) -> frozenset[str]:
        """Agents that live workers serve, as of two seconds ago at most; many who ask at once ask the store once."""
        agents, until = self._served
        if time.monotonic() < until:
            return agents
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_served())
        return await asyncio.shield(self._asking)

    async def _ask_served(self) -> frozenset[str]:
        rows = await self.call(self.store.workers)
        agents = frozenset(agent for row in rows if not row.expired for agent in row.agents)
        self._served = (agents, time.monotonic() + _SERVED_S)
        return agents

    def announce(self, task: TaskDocument) -> TaskDocument:
        """Wake a worker for a task that is queued now; the task."""
        if task.state == State.QUEUED:
            wake = Wake(task_id=task.id, agent=task.agent, tenant=task.tenant, priority=task.priority)
            self.announcements.offer([wake])
        return task

    @contextlib.asynccontextmanager
    async def audited(self, caller: Caller, action: str, about: str, by: str = "", **detail: Any) -> AsyncGenerator[Desk]:
        """Around every decision: the log has it before it is done, and how it ended after."""
        tenant = caller.tenant
        new = NewAudit(
            tenant=tenant, actor=caller.actor(by), action=action, object=about, address=caller.address, detail=_clean(detail)
        )
        line = await self.call(self.store.audit_begin, new)
        desk = Desk()
        outcome = "internal"
        try:
            yield desk
            outcome = "done"
        except TetherError as error:
            outcome = error.code
            raise
        finally:
            await self.call(self.store.audit_end, line, outcome, desk.about)


@dataclass
class Desk:
    """What an audited action says about itself: `about` is the id of what it made."""

    about: str | None = None


def _clean(detail: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in detail.items() if value not in (None, "", {}, [])}


def service_of(connection: HTTPConnection) -> Service:
    """The service of the application that got this request."""
    return cast("Service", connection.app.state.service)
