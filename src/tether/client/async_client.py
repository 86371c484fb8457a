"""The client for asyncio: the same methods, awaited. For a server only; a store is synchronous, so use Client in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from tether.client import calls
from tether.client.client import check_patience, place_of
from tether.client.doorway import Doorway
from tether.client.http import no_decision
from tether.errors import ConfigurationError, ServerUnavailable, TaskFailed, ValidationError, WaitTimeout
from tether.lifecycle import FINAL, SETTLED
from tether.task import Answer, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from types import TracebackType

    from tether.events import Event

__all__ = ["AsyncClient"]

_GOALS = {"settled": SETTLED, "final": FINAL}
_LONGEST_POLL_S = 25.0
_PAUSE_S = 0.2
_PAGE = 500


class AsyncClient:
    """Submits tasks and decides for them; an `async with` block. Arguments as of Client, base_url a server.

    Raises ConfigurationError.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, timeout: float = 30, max_retries: int = 2
    ) -> None:
        from tether.client.async_http import AsyncHttp
        from tether.config import load

        place = place_of(load(), base_url, api_key)
        check_patience(timeout, max_retries)
        if not isinstance(place, Doorway):
            raise ConfigurationError("base_url", "is a store, not a server", "start `tether up`, or use Client")
        self._timeout_s = timeout
        self._http = AsyncHttp(place.url, place.key or None, timeout_s=timeout, max_retries=max_retries)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def submit(self, task: Task, by: str = "") -> str:
        """Store the task; its id. Its files must be `upload:ID`."""
        return await self._http.perform(calls.submit(task, by or "client"))

    async def get(self, task_id: str) -> TaskDocument:
        """The task as it stands; raises NotFound."""
        return await self._http.perform(calls.get(task_id))

    async def wait(self, task_id: str, until: str = "settled", timeout: float | None = None) -> TaskDocument:
        """Wait until the task is "settled" (final or paused) or "final"; timeout in seconds, then WaitTimeout."""
        if until not in _GOALS:
            raise ValidationError("until", f"{until!r} is unknown", "use settled or final")
        deadline = None if timeout is None else time.monotonic() + timeout
        away_since: float | None = None
        while True:
            left = _LONGEST_POLL_S if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                found = await self._http.perform(calls.wait(task_id, until, min(left, _LONGEST_POLL_S)))
            except ServerUnavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > self._timeout_s or left == 0:
                    raise
                await asyncio.sleep(_PAUSE_S)
                continue
            away_since = None
            if found.state in _GOALS[until]:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(task_id, found.state, timeout or 0)

    async def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait until the task is settled and return its result; raises TaskFailed (with `.partial`)."""
        task = await self.wait(task_id, timeout=timeout)
        if task.state != "succeeded":
            raise TaskFailed(task)
        return task.result

    async def events(self, task_id: str, after: int = 0, follow: bool = False) -> AsyncIterator[Event]:
        """The journal from behind `after`; follow: until the task is final."""
        if follow:
            async for event in self._http.follow(task_id, after):
                yield event
            return
        while found := await self._http.perform(calls.events(task_id, after, _PAGE)):
            for event in found:
                yield event
            after = found[-1].seq

    async def decide(self, task_id: str, answer: Answer) -> TaskDocument:
        """Decide what a task (or the approval of that id) waits for. Raises Conflict, ValidationError."""
        if task_id.startswith("appr_"):
            return await self._http.perform(calls.decide(task_id, answer))
        task = await self.get(task_id)
        if task.approval is None or task.approval.state != "open":
            raise no_decision(task)
        return await self._http.perform(calls.decide(task.approval.id, answer))

    async def approve(self, task_id: str, add: Mapping[str, Any] | None = None, comment: str = "", by: str = "") -> TaskDocument:
        """Approve it; add: budget to add."""
        return await self.decide(task_id, Answer(decision="approve", add=dict(add or {}), comment=comment, by=by))

    async def reject(self, task_id: str, comment: str = "", by: str = "") -> TaskDocument:
        """Reject it: the task fails with what it has so far."""
        return await self.decide(task_id, Answer(decision="reject", comment=comment, by=by))

    async def answer(self, task_id: str, text: str, by: str = "") -> TaskDocument:
        """Answer the question a task waits for."""
        return await self.decide(task_id, Answer(decision="answer", text=text, by=by))

    async def change(self, verb: str, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """pause, resume, cancel, retry or escalate; raises IllegalTransition."""
        return await self._http.perform(calls.change(verb, task_id, by, note))

    async def update(
        self,
        task_id: str,
        budget: Budget | Mapping[str, Any] | None = None,
        timeouts: Timeouts | Mapping[str, Any] | None = None,
        priority: int | None = None,
        note: str = "",
        by: str = "",
    ) -> TaskDocument:
        """Change limits (keys left out stay), priority or note of a task that is not final."""
        return await self._http.perform(calls.update(task_id, budget, timeouts, priority, note, by))
