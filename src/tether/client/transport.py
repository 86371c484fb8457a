"""What a client needs of whatever carries its requests: a store (direct.py) or a server (http.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tether.task import Answer, Approval, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from tether.client.admission import Admission
    from tether.events import Event
    from tether.store.rows import AttemptState, Page, TaskFilter, WorkerRow

__all__ = ["Transport"]


class Transport(Protocol):
    """One method per request; the same errors whatever lies behind."""

    def close(self) -> None:
        """Close the connections."""
        ...

    def submit(self, task: Task, by: str) -> str:
        """Store the task; its id."""
        ...

    def admission(self, task: Task) -> Admission:
        """What submit would store."""
        ...

    def get(self, task_id: str) -> TaskDocument:
        """The whole task."""
        ...

    def wait(self, task_id: str, until: str, timeout_s: float | None) -> TaskDocument:
        """The task once it is "settled" or "final"; raises WaitTimeout."""
        ...

    def tasks(self, where: TaskFilter, limit: int, cursor: str | None) -> Page[TaskDocument]:
        """A page of tasks."""
        ...

    def events(self, task_id: str, after: int, follow: bool) -> Iterator[Event]:
        """The journal; follow: until the task is final."""
        ...

    def approvals(self, limit: int, cursor: str | None) -> Page[Approval]:
        """Open questions to humans."""
        ...

    def attempt_state(self, task_id: str, attempt: int | None) -> AttemptState:
        """Dump and checkpoint of an attempt."""
        ...

    def workers(self) -> list[WorkerRow]:
        """Workers that are alive."""
        ...

    def decide(self, name: str, answer: Answer) -> TaskDocument:
        """Decide the approval of that id, or the open one of the task of that id."""
        ...

    def change(self, verb: str, task_id: str, *, by: str, note: str) -> TaskDocument:
        """pause, resume, cancel, retry or escalate."""
        ...

    def update(
        self,
        task_id: str,
        *,
        budget: Budget | Mapping[str, Any] | None,
        timeouts: Timeouts | Mapping[str, Any] | None,
        priority: int | None,
        note: str,
        by: str,
    ) -> TaskDocument:
        """Change limits or priority."""
        ...
