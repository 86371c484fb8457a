"""One task in the hands of a program: its id, and everything a client can do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tether.client.client import Client
    from tether.events import Event
    from tether.task import Budget, TaskDocument, Timeouts

__all__ = ["TaskHandle"]


class TaskHandle:
    """A submitted task; every method asks the store anew, nothing is kept but the id."""

    def __init__(self, client: Client, task_id: str) -> None:
        self.client = client
        self.id = task_id

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"

    def document(self) -> TaskDocument:
        """The task as it stands."""
        return self.client.get(self.id)

    def wait(self, until: str = "settled", timeout: float | None = None) -> TaskDocument:
        """Wait until it is settled (final or paused) or "final"; timeout in seconds, then WaitTimeout."""
        return self.client.wait(self.id, until=until, timeout=timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until it is settled and return its result; TaskFailed, with `.partial`, when it did not succeed."""
        return self.client.result(self.id, timeout=timeout)

    def events(self, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """Its journal from behind `after`; follow: go on until it is final."""
        return self.client.events(self.id, after=after, follow=follow)

    def approve(self, add: Mapping[str, Any] | None = None, comment: str = "", by: str = "") -> TaskDocument:
        """Approve what it waits for; add: budget to add, for example {"max_usd": 5}."""
        return self.client.approve(self.id, add=add, comment=comment, by=by)

    def reject(self, comment: str = "", by: str = "") -> TaskDocument:
        """Reject what it waits for; it fails with what it has so far."""
        return self.client.reject(self.id, comment=comment, by=by)

    def answer(self, text: str, by: str = "") -> TaskDocument:
        """Answer the question it waits for."""
        return self.client.answer(self.id, text, by=by)

    def pause(self, by: str = "") -> TaskDocument:
        """Ask it to stop at the next checkpoint and wait."""
        return self.client.pause(self.id, by=by)

    def resume(self, note: str = "", by: str = "") -> TaskDocument:
        """Queue it again after a pause that asks nothing."""
        return self.client.resume(self.id, note=note, by=by)

    def cancel(self, by: str = "") -> TaskDocument:
        """End it; what it has so far is kept."""
        return self.client.cancel(self.id, by=by)

    def retry(self, note: str = "", by: str = "") -> TaskDocument:
        """Queue it again after it failed or was cancelled, from its last checkpoint."""
        return self.client.retry(self.id, note=note, by=by)

    def update(
        self,
        budget: Budget | Mapping[str, Any] | None = None,
        timeouts: Timeouts | Mapping[str, Any] | None = None,
        priority: int | None = None,
        note: str = "",
        by: str = "",
    ) -> TaskDocument:
        """Change its limits (keys left out stay) or priority."""
        return self.client.update(self.id, budget=budget, timeouts=timeouts, priority=priority, note=note, by=by)

    def escalate(self, note: str = "", by: str = "") -> TaskDocument:
        """Hand it to a human: it pauses until somebody decides."""
        return self.client.escalate(self.id, note=note, by=by)
