"""The store as the rest of Tether sees it: one class, one transaction per method, the same on SQLite and PostgreSQL.

All methods are synchronous and may be called from any thread. Each raises StoreUnavailable when the database cannot be reached or
written now; the caller decides whether to try again (reserve, settle, submit with a key and heartbeat may be repeated safely).
Times are milliseconds by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tether.store import rows as r
from tether.store.queries import Queries
from tether.task import Answer, Budget, Task, TaskDocument, Timeouts

__all__ = ["Store"]


class Store(Queries):
    """Tasks, journal, leases and budgets in one database; made by tether.store.open_store."""

    # --- clients ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        task: Task,
        *,
        budget: Budget,
        timeouts: Timeouts,
        agent_version: str | None = None,
        by: str = "",
        warnings: Sequence[str] = (),
    ) -> str:
        """Store a task as queued; returns its id. The same idempotency key and content returns the first id.

        Raises IdempotencyConflict for the same key with another content.
        """
        raise NotImplementedError

    def submit_many(self, new: Sequence[r.NewTask]) -> list[str]:
        """Store many tasks in one transaction, all or none; ids in the order given. Raises like submit."""
        raise NotImplementedError

    def pause(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Pause a queued task at once, a running one by an intent. Raises NotFound, IllegalTransition."""
        raise NotImplementedError

    def cancel(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """End a queued or paused task at once, a leased one by an intent. Raises NotFound, IllegalTransition."""
        raise NotImplementedError

    def resume(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Queue a task again that an operator paused, or take back a pause not yet carried out. Raises Conflict when it waits for a decision."""
        raise NotImplementedError

    def retry(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Queue a failed or cancelled task again from its last checkpoint, with all attempts and its active time given anew; spend stays counted."""
        raise NotImplementedError

    def escalate(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Ask a human to take over: the task pauses (a leased one by an intent) with an approval of kind escalated."""
        raise NotImplementedError

    def update(
        self,
        task_id: str,
        *,
        budget: Mapping[str, Any] | Budget | None = None,
        timeouts: Mapping[str, Any] | Timeouts | None = None,
        priority: int | None = None,
        note: str | None = None,
        by: str = "",
        tenant: str | None = None,
        if_revision: int | None = None,
    ) -> TaskDocument:
        """Change limits (absolute values of the keys given), priority or note of a task that is not final.

        Raises ValidationError naming the field; Conflict when the task is final or its revision is not `if_revision`.
        """
        raise NotImplementedError

    def decide(self, approval_id: str, answer: Answer, *, tenant: str | None = None) -> TaskDocument:
        """Decide an open approval: approve and edit resume (with `add` on top of the budget), answer resumes, reject fails the task.

        Raises NotFound; Conflict when it was decided already or the decision does not fit its kind; ValidationError when a budget
        approval leaves the exceeded limit as it is.
        """
        raise NotImplementedError

    def hold(
        self,
        *,
        stop: str,
        agent: str | None = None,
        task_type: str | None = None,
        model: str | None = None,
        tenant: str | None = None,
        note: str = "",
        by: str = "",
    ) -> r.Hold:
        """Stop claims or calls of everything that matches all fields given. Raises ValidationError when `stop` is unknown."""
        raise NotImplementedError

    def release(self, hold_id: str) -> None:
        """Take a hold back. Raises NotFound."""
        raise NotImplementedError

    def erase(self, task_id: str, *, tenant: str | None = None) -> None:
        """Erase goal, input, results, checkpoints and event data of a final task; figures stay. Raises NotFound, Conflict."""
        raise NotImplementedError

    def prune(self, older_than_s: float, limit: int = 1000) -> int:
        """Delete up to `limit` tasks that ended more than `older_than_s` seconds ago, with all their rows; returns how many."""
        raise NotImplementedError

    # --- workers ------------------------------------------------------------------------------------------------------

    def register_worker(self, worker: r.NewWorker, *, lease_s: float) -> r.Beat:
        """Make the worker known with a first lease of lease_s seconds. Raises Conflict when the id was used before."""
        raise NotImplementedError

    def heartbeat(self, worker_id: str, *, lease_s: float, state: str = "live", facts: Mapping[str, Any] | None = None) -> r.Beat:
        """Renew all leases of the worker for lease_s seconds from now; false when the worker was given up. state: live | draining."""
        raise NotImplementedError

    def retire_worker(self, worker_id: str) -> None:
        """The worker is done; leases it still holds are free for the next rescue()."""
        raise NotImplementedError

    def claim(self, worker_id: str, agents: Sequence[str], n: int) -> list[r.Claim]:
        """Lease up to n queued tasks of these agents: highest priority first, then oldest. Empty when there are none or the worker is not live."""
        raise NotImplementedError

    def journal(self, entries: Sequence[r.Entry]) -> list[r.Written]:
        """Write entries in one transaction, each only while its lease token is the task's; answers in the order given."""
        raise NotImplementedError

    def append(self, items: Sequence[r.Append]) -> list[bool]:
        """Append events without a lease; False where there is no such task."""
        raise NotImplementedError

    def intents(self, worker_id: str) -> list[r.Intent]:
        """What clients want of the tasks this worker leases."""
        raise NotImplementedError

    def leases(self, worker_id: str) -> dict[str, str]:
        """Task id -> lease token of every lease of this worker."""
        raise NotImplementedError

    def rescue(
        self, *, dead: Sequence[str] = (), found_by: str = "", grace_s: float = 0.0, quarantine_after: int = 3
    ) -> list[r.Rescued]:
        """Take tasks from workers whose lease ended more than grace_s ago, that retired, or that are in `dead` (known to be gone).

        Requeued as worker_lost without using an attempt; after `quarantine_after` losses on one checkpoint paused as escalated.
        Calls in flight are settled at their hold.
        """
        raise NotImplementedError

    def expire_waits(self, limit: int = 500) -> list[r.Expired]:
        """Fail tasks that waited longer than queue_s for a worker or approval_s for a human."""
        raise NotImplementedError

    def take_wakes(self, limit: int = 500) -> list[tuple[str, str]]:
        """The outbox: (task id, agent) of queued tasks that were not announced yet; announce them, then call `announced`."""
        raise NotImplementedError

    def announced(self, task_ids: Sequence[str]) -> None:
        """These tasks were announced to the broker."""
        raise NotImplementedError

    # --- the gateway --------------------------------------------------------------------------------------------------

    def reserve(self, items: Sequence[r.Reserve]) -> list[r.Reserved | r.Refused]:
        """Reserve room for calls, all in one transaction, each granted or refused by itself; answers in the order given."""
        raise NotImplementedError

    def settle(self, items: Sequence[r.Settle]) -> list[r.Settled]:
        """Settle reserved calls in one transaction; repeating one changes nothing. Works after the lease is gone."""
        raise NotImplementedError

    def settle_orphans(self, *, lease_tokens: Sequence[str] = (), older_than_s: float | None = None, limit: int = 500) -> int:
        """Settle calls in flight at their hold: those reserved under these leases, or older than this many seconds without their lease."""
        raise NotImplementedError
