"""The reading half of the store; every method may be limited to one tenant, and then others' rows do not exist."""

from __future__ import annotations

from collections.abc import Sequence

from tether.events import Event
from tether.store import holding, leases, listing, recording, spending
from tether.store import rows as r
from tether.store.database import Database
from tether.task import Approval, TaskDocument, Usage

__all__ = ["Queries"]


class Queries:
    """What can be asked of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Close all connections."""
        self._database.dialect.close()

    def now_ms(self) -> int:
        """The database's clock, Unix time in milliseconds."""
        return self._database.read(lambda tx: tx.now_ms)

    def get(self, task_id: str, *, tenant: str | None = None) -> TaskDocument:
        """The whole task. Raises NotFound."""
        return self._database.read(lambda tx: listing.document(tx, task_id, tenant))

    def revision(self, task_id: str, *, tenant: str | None = None) -> int:
        """Grows with every change of state, limits, priority or note (for If-Match). Raises NotFound."""
        return self._database.read(lambda tx: listing.found(tx, task_id, tenant).revision)

    def states(self, task_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Task id -> (state, reason) of those that exist; cheap, for waiting."""
        return self._database.read(lambda tx: listing.states(tx, task_ids))

    def tasks(self, where: r.TaskFilter | None = None, *, limit: int = 50, cursor: str | None = None) -> r.Page[TaskDocument]:
        """Tasks, newest first. Raises ValidationError for a cursor that is not one of ours."""
        return self._database.read(lambda tx: listing.task_page(tx, where or r.TaskFilter(), limit, cursor))

    def counts(self, *, tenant: str | None = None) -> dict[str, int]:
        """State -> number of tasks."""
        return self._database.read(lambda tx: listing.counts(tx, tenant))

    def events(
        self, task_id: str, *, after: int = 0, limit: int = 500, types: Sequence[str] = (), tenant: str | None = None
    ) -> list[Event]:
        """The task's journal in order of seq, from the first one greater than `after`. Raises NotFound."""
        return self._database.read(lambda tx: listing.event_list(tx, task_id, after, limit, types, tenant))

    def tool_history(self, task_id: str, *, most: int) -> list[Event]:
        """The last `most` events of a task's tools, of circles suspected in them, and of humans that let it go on."""
        return self._database.read(lambda tx: listing.tool_history(tx, task_id, most))

    def tail(self, cursor: str | None = None, *, limit: int = 500, tenant: str | None = None) -> r.Tail:
        """Events of all tasks after `cursor`, none missed whatever commits late.

        cursor None: from now on; "": from the beginning. Raises ValidationError for a cursor that is not one of ours.
        """
        return self._database.read(lambda tx: tx.dialect.tail(tx.connection, cursor, limit, tenant))

    def usage(self, task_id: str, *, tenant: str | None = None) -> Usage:
        """What the task spent so far. Raises NotFound."""
        return self.counters(task_id, tenant=tenant).usage()

    def counters(self, task_id: str, *, tenant: str | None = None) -> r.Counters:
        """The budget row: used, held, allowed. Raises NotFound."""
        return self._database.read(lambda tx: listing.counters(tx, task_id, tenant))

    def account(self, task_id: str) -> r.Account:
        """On what the task's budget went: models, hosts, charges."""
        return self._database.read(lambda tx: spending.account(tx, task_id))

    def recordings(self, task_id: str) -> list[r.Recording]:
        """The recorded answers of models to the task's agent, oldest first."""
        return self._database.read(lambda tx: recording.recorded(tx, task_id))

    def recorded_answers(self, task_id: str) -> int:
        """How many there are."""
        return self._database.read(lambda tx: recording.recorded_answers(tx, task_id))

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
        return self._database.read(lambda tx: listing.approval_page(tx, state, task_id, tenant, limit, cursor))

    def approval(self, approval_id: str, *, tenant: str | None = None) -> Approval:
        """One question. Raises NotFound."""
        return self._database.read(lambda tx: listing.approval(tx, approval_id, tenant))

    def checkpoint(self, task_id: str, number: int | None = None, *, tenant: str | None = None) -> r.Checkpoint | None:
        """The newest checkpoint (or that number while it is kept), composed; None when there is none. Raises NotFound."""
        return self._database.read(lambda tx: listing.checkpoint(tx, task_id, number, tenant))

    def attempt_state(self, task_id: str, attempt: int | None = None, *, tenant: str | None = None) -> r.AttemptState:
        """The dump and checkpoint of an attempt, the last one by default. Raises NotFound."""
        return self._database.read(lambda tx: listing.attempt_state(tx, task_id, attempt, tenant))

    def artifacts(self, task_id: str, *, tenant: str | None = None) -> list[r.NewArtifact]:
        """The files kept of a task. Raises NotFound."""
        return self._database.read(lambda tx: listing.artifact_list(tx, task_id, tenant))

    def workers(self, *, all_states: bool = False) -> list[r.WorkerRow]:
        """The live and draining workers (or all that are remembered), with the leases they hold."""
        return self._database.read(lambda tx: leases.workers_known(tx, all_states=all_states))

    def holds(self) -> list[r.Hold]:
        """The holds in force."""
        return self._database.read(holding.all_holds)
