"""What a program asks of Tether: the same methods whatever lies behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.client.direct import Direct
from tether.client.doorway import Doorway, doorway
from tether.client.handle import TaskHandle
from tether.errors import ConfigurationError, TaskFailed, ValidationError
from tether.task import Answer, Approval, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from types import TracebackType

    from tether.client.admission import Admission
    from tether.client.transport import Transport
    from tether.config import Settings
    from tether.events import Event
    from tether.store.rows import AttemptState, Page, WorkerRow

__all__ = ["Client"]


class Client:
    """Submits tasks and decides for them; synchronous, safe in threads, also a `with` block.

    base_url: a server (http://…, https://…) or a store URL (sqlite:///path, postgresql://…). By default TETHER_API_URL,
    else the running server of this user (`tether up`, `tether api`), else the configured store.
    api_key: of the server; by default TETHER_API_KEY, else the one `tether up` left for this user.
    timeout: seconds a request may take with its retries. max_retries: of requests that may be repeated.
    Raises ConfigurationError, StoreUnavailable.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, timeout: float = 30, max_retries: int = 2
    ) -> None:
        from tether.config import load

        settings = load()
        place = place_of(settings, base_url, api_key)
        check_patience(timeout, max_retries)
        if isinstance(place, Doorway):
            from tether.client.http import Http

            self._transport: Transport = Http(place.url, place.key or None, timeout_s=timeout, max_retries=max_retries)
        else:
            self._transport = Direct(place, timeout_s=timeout, max_retries=max_retries)

    @classmethod
    def of(cls, settings: Settings, timeout: float = 30, max_retries: int = 2) -> Client:
        """A client on the store of a configuration that is already read."""
        check_patience(timeout, max_retries)
        made = cls.__new__(cls)
        made._transport = Direct(settings, timeout_s=timeout, max_retries=max_retries)
        return made

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- tasks

    def submit(self, task: Task, by: str = "") -> TaskHandle:
        """Store the task and return at once; raises ValidationError naming the field, IdempotencyConflict."""
        if not isinstance(task, Task):
            raise ValidationError("task", f"is a {type(task).__name__}, not a Task", 'write Task(goal="…")')
        return TaskHandle(self, self._transport.submit(task, by or "client"))

    def check(self, task: Task) -> Admission:
        """What submit would store, without storing it; raises ValidationError naming the field."""
        return self._transport.admission(task)

    def handle(self, task_id: str) -> TaskHandle:
        """A handle on a task submitted before; asks nothing yet."""
        return TaskHandle(self, task_id)

    def get(self, task_id: str) -> TaskDocument:
        """The task as it stands; raises NotFound."""
        return self._transport.get(task_id)

    def tasks(
        self,
        state: str | Sequence[str] = (),
        reason: str | Sequence[str] = (),
        agent: str | None = None,
        task_type: str | None = None,
        tag: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[TaskDocument]:
        """Tasks, newest first: `.data`, and `.next_cursor` to pass as cursor."""
        from tether.store.rows import TaskFilter

        where = TaskFilter(
            states=_several(state),
            reasons=_several(reason),
            agent=agent,
            task_type=task_type,
            tag=tag,
            user=user,
            tenant=tenant,
            created_from_ms=_ms(created_from, "created_from"),
            created_to_ms=_ms(created_to, "created_to"),
        )
        return self._transport.tasks(where, limit, cursor)

    def events(self, task_id: str, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """The journal from behind `after`; follow: wait for more until the task is final."""
        return self._transport.events(task_id, after, follow)

    def wait(self, task_id: str, until: str = "settled", timeout: float | None = None) -> TaskDocument:
        """Wait until the task is "settled" (final or paused) or "final"; timeout in seconds, then WaitTimeout."""
        if until not in ("settled", "final"):
            raise ValidationError("until", f"{until!r} is unknown", "use settled or final")
        return self._transport.wait(task_id, until, timeout)

    def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait until the task is settled and return its result; raises TaskFailed (with `.partial`) when it did not succeed."""
        task = self.wait(task_id, timeout=timeout)
        if task.state != "succeeded":
            raise TaskFailed(task)
        return task.result

    def state(self, task_id: str, attempt: int | None = None) -> AttemptState:
        """The inside of an attempt (the last by default): the dump made before a kill, and its last checkpoint."""
        return self._transport.attempt_state(task_id, attempt)

    # --- decisions

    def approvals(self, limit: int = 50, cursor: str | None = None) -> Page[Approval]:
        """Open questions to humans, newest first."""
        return self._transport.approvals(limit, cursor)

    def approve(self, task_id: str, add: Mapping[str, Any] | None = None, comment: str = "", by: str = "") -> TaskDocument:
        """Approve what a task (or the approval of that id) waits for; add: budget to add. Raises Conflict, ValidationError."""
        return self._transport.decide(
            task_id, Answer(decision="approve", add=dict(add or {}), comment=comment, by=by or "client")
        )

    def reject(self, task_id: str, comment: str = "", by: str = "") -> TaskDocument:
        """Reject it: the task fails with what it has so far. Raises Conflict."""
        return self._transport.decide(task_id, Answer(decision="reject", comment=comment, by=by or "client"))

    def answer(self, task_id: str, text: str, by: str = "") -> TaskDocument:
        """Answer the question a task waits for. Raises Conflict."""
        return self._transport.decide(task_id, Answer(decision="answer", text=text, by=by or "client"))

    def pause(self, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """Pause it: at once when queued, at the next checkpoint when running. Raises IllegalTransition."""
        return self._transport.change("pause", task_id, by=by or "client", note=note)

    def resume(self, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """Queue a task again that was paused by hand. Raises Conflict when it waits for a decision."""
        return self._transport.change("resume", task_id, by=by or "client", note=note)

    def cancel(self, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """End it; its partial result is kept. Raises IllegalTransition."""
        return self._transport.change("cancel", task_id, by=by or "client", note=note)

    def retry(self, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """Queue a failed or cancelled task again from its last checkpoint. Raises IllegalTransition."""
        return self._transport.change("retry", task_id, by=by or "client", note=note)

    def escalate(self, task_id: str, note: str = "", by: str = "") -> TaskDocument:
        """Ask a human to take over. Raises IllegalTransition."""
        return self._transport.change("escalate", task_id, by=by or "client", note=note)

    def update(
        self,
        task_id: str,
        budget: Budget | Mapping[str, Any] | None = None,
        timeouts: Timeouts | Mapping[str, Any] | None = None,
        priority: int | None = None,
        note: str = "",
        by: str = "",
    ) -> TaskDocument:
        """Change limits (keys left out stay), priority or note of a task that is not final. Raises ValidationError, Conflict."""
        return self._transport.update(task_id, budget=budget, timeouts=timeouts, priority=priority, note=note, by=by or "client")

    def workers(self) -> list[WorkerRow]:
        """Workers that are alive, with what they serve."""
        return self._transport.workers()


def place_of(settings: Settings, base_url: str | None, api_key: str | None) -> Settings | Doorway:
    """Where requests go: a server, or the store of these settings."""
    url = base_url or os.environ.get("TETHER_API_URL") or None
    key = api_key or os.environ.get("TETHER_API_KEY") or None
    if url is None:
        found = doorway(settings.home) if api_key is None else None
        return settings if found is None else found
    if not url.startswith(("http://", "https://")):
        return _on_store(settings, url, api_key)
    ours = doorway(settings.home, alive=False) if key is None else None
    if ours is not None and ours.url == url.rstrip("/"):
        key = ours.key
    return Doorway(url=url.rstrip("/"), key=key or "")


def _on_store(settings: Settings, url: str, api_key: str | None) -> Settings:
    if "\0" in url:
        raise ConfigurationError("base_url", "contains a NUL character", "give sqlite:///path or postgresql://…")
    if api_key is not None:
        raise ConfigurationError("api_key", "is for a server and this is a store", "leave it out")
    if url.startswith("sqlite:///"):
        url = f"sqlite:///{Path(url.removeprefix('sqlite:///')).expanduser().absolute()}"
    return settings.model_copy(update={"store": settings.store.model_copy(update={"url": url})})


def check_patience(timeout: float, max_retries: int) -> None:
    """Raises ValidationError for a timeout or a number of retries that makes no sense."""
    if not timeout > 0 or isinstance(timeout, bool):
        raise ValidationError("timeout", f"{timeout!r} is not a number of seconds greater than 0", "for example 30")
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or not 0 <= max_retries <= 100:
        raise ValidationError("max_retries", f"{max_retries!r} is not a whole number from 0 to 100", "for example 2")


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _ms(at: datetime | None, name: str) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValidationError(name, "has no time zone", "use datetime(…, tzinfo=UTC)")
    return int(at.timestamp() * 1000)
