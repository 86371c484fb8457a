"""The reading half of the store; every method may be limited to one tenant, and then others' rows do not exist."""

from __future__ import annotations

from collections.abc import Sequence

from tether.events import Event
from tether.store import rows as r
from tether.task import Approval, TaskDocument, Usage

__all__ = ["Queries"]


class Queries:
    """What can be asked of a store."""

    def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError

    def now_ms(self) -> int:
        """The database's clock, Unix time in milliseconds."""
        raise NotImplementedError

    def get(self, task_id: str, *, tenant: str | None = None) -> TaskDocument:
        """The whole task. Raises NotFound."""
        raise NotImplementedError

    def revision(self, task_id: str, *, tenant: str | None = None) -> int:
        """Grows with every change of state, limits, priority or note (for If-Match). Raises NotFound."""
        raise NotImplementedError

    def states(self, task_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Task id -> (state, reason) of those that exist; cheap, for waiting."""
        raise NotImplementedError

    def tasks(self, where: r.TaskFilter | None = None, *, limit: int = 50, cursor: str | None = None) -> r.Page[TaskDocument]:
        """Tasks, newest first. Raises ValidationError for a cursor that is not one of ours."""
        raise NotImplementedError

    def counts(self, *, tenant: str | None = None) -> dict[str, int]:
        """State -> number of tasks."""
        raise NotImplementedError

    def events(
        self, task_id: str, *, after: int = 0, limit: int = 500, types: Sequence[str] = (), tenant: str | None = None
    ) -> list[Event]:
        """The task's journal in order of seq, from the first one greater than `after`. Raises NotFound."""
        raise NotImplementedError

    def tail(self, cursor: str | None = None, *, limit: int = 500, tenant: str | None = None) -> r.Tail:
        """Events of all tasks after `cursor`, none missed whatever commits late; cursor None: from now on ("" from the beginning)."""
        raise NotImplementedError

    def usage(self, task_id: str, *, tenant: str | None = None) -> Usage:
        """What the task spent so far. Raises NotFound."""
        raise NotImplementedError

    def counters(self, task_id: str) -> r.Counters:
        """The budget row: used, held, allowed. Raises NotFound."""
        raise NotImplementedError

    def approvals(
        self,
        *,
        state: str | None = "open",
        task_id: str | None = None,
        tenant: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> r.Page[Approval]:
        """Questions to humans, newest first."""
        raise NotImplementedError

    def approval(self, approval_id: str, *, tenant: str | None = None) -> Approval:
        """One question. Raises NotFound."""
        raise NotImplementedError

    def checkpoint(self, task_id: str, number: int | None = None, *, tenant: str | None = None) -> r.Checkpoint | None:
        """The newest checkpoint (or that number while it is kept), composed; None when there is none. Raises NotFound for the task."""
        raise NotImplementedError

    def attempt_state(self, task_id: str, attempt: int | None = None, *, tenant: str | None = None) -> r.AttemptState:
        """The dump and checkpoint of an attempt, the last one by default. Raises NotFound."""
        raise NotImplementedError

    def artifacts(self, task_id: str, *, tenant: str | None = None) -> list[r.NewArtifact]:
        """The files kept of a task. Raises NotFound."""
        raise NotImplementedError

    def workers(self, *, all_states: bool = False) -> list[r.WorkerRow]:
        """The live and draining workers (or all that are remembered), with the leases they hold."""
        raise NotImplementedError

    def holds(self) -> list[r.Hold]:
        """The holds in force."""
        raise NotImplementedError
