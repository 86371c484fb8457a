"""The store as the rest of Tether sees it: one class, one transaction per method, the same on SQLite and PostgreSQL.

All methods are synchronous and may be called from any thread. Each raises StoreUnavailable when the database cannot be reached or
written now; the caller decides whether to try again (reserve, settle, submit with a key and heartbeat may be repeated safely).
Times are milliseconds by the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tether.store import (
    claiming,
    deciding,
    forgetting,
    holding,
    intents,
    journal,
    leases,
    metering,
    recording,
    rescuing,
    reserving,
    settling,
    submitting,
    updating,
    waits,
)
from tether.store import rows as r
from tether.store.access import Access
from tether.store.listing import document
from tether.store.queries import Queries
from tether.store.waiting import Wanted
from tether.store.writing import Writing
from tether.task import Answer, Budget, Task, TaskDocument, Timeouts

__all__ = ["Store"]


class Store(Access, Queries):
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
        sealed: bytes | None = None,
    ) -> str:
        """Store a task as queued; returns its id. The same idempotency key and content returns the first id.

        sealed: its secrets (tether.secrets.Vault). Raises IdempotencyConflict for the same key with another content.
        """
        new = r.NewTask(
            task=task,
            budget=budget,
            timeouts=timeouts,
            agent_version=agent_version,
            by=by,
            warnings=tuple(warnings),
            sealed=sealed,
        )
        return self.submit_many([new])[0]

    def submit_many(self, new: Sequence[r.NewTask]) -> list[str]:
        """Store many tasks in one transaction, all or none; ids in the order given. Raises like submit."""
        return self._database.write(lambda tx: submitting.submit(tx, new)) if new else []

    def pause(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Pause a queued task at once, a running one by an intent. Raises NotFound, IllegalTransition."""
        return self._changed(task_id, lambda tx: intents.pause(tx, task_id, by, note, tenant))

    def cancel(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """End a queued or paused task at once, a leased one by an intent. Raises NotFound, IllegalTransition."""
        return self._changed(task_id, lambda tx: intents.cancel(tx, task_id, by, note, tenant))

    def resume(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Queue a task again that an operator paused, or take back a pause not yet carried out.

        Raises Conflict when it waits for a decision.
        """
        return self._changed(task_id, lambda tx: intents.resume(tx, task_id, by, note, tenant))

    def retry(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Queue a failed or cancelled task again from its last checkpoint; attempts and task_s start anew, spend stays."""
        return self._changed(task_id, lambda tx: intents.retry(tx, task_id, by, note, tenant))

    def escalate(self, task_id: str, *, by: str = "", note: str = "", tenant: str | None = None) -> TaskDocument:
        """Ask a human to take over: the task pauses (a leased one by an intent) with an approval of kind escalated."""
        return self._changed(task_id, lambda tx: intents.escalate(tx, task_id, by, note, tenant))

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
        changes = updating.Changes(budget=budget, timeouts=timeouts, priority=priority, note=note)
        return self._changed(task_id, lambda tx: updating.change(tx, task_id, changes, by, tenant, if_revision))

    def decide(self, approval_id: str, answer: Answer, *, tenant: str | None = None) -> TaskDocument:
        """Decide an open approval: approve, edit, answer resume (with `add` on top of the budget), reject fails the task.

        Raises NotFound; Conflict when it was decided already or the decision does not fit its kind; ValidationError when a budget
        approval leaves the exceeded limit as it is.
        """
        task_id = self._database.write(lambda tx: deciding.decide(tx, approval_id, answer, tenant))
        return self.get(task_id)

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
        new = r.Hold(id="", stop=stop, agent=agent, task_type=task_type, model=model, tenant=tenant, note=note, by=by)
        return self._database.write(lambda tx: holding.hold(tx, new))

    def release(self, hold_id: str) -> None:
        """Take a hold back. Raises NotFound."""
        self._database.write(lambda tx: holding.release(tx, hold_id))

    def resume_released(self) -> int:
        """Let tasks go on that paused for a hold on calls which is in force no longer; returns how many."""
        found = self._database.read(holding.released)
        return self._database.write(lambda tx: holding.resume(tx, found)) if found else 0

    def erase(self, task_id: str, *, tenant: str | None = None) -> None:
        """Erase goal, input, results, checkpoints and event data of a final task; figures stay. Raises NotFound, Conflict."""
        self._database.write(lambda tx: forgetting.erase(tx, task_id, tenant))

    def prune(self, older_than_s: float, limit: int = 1000) -> int:
        """Delete up to `limit` tasks that ended more than `older_than_s` seconds ago, with all their rows; returns how many."""
        return len(self._database.write(lambda tx: forgetting.prune(tx, older_than_s, limit)))

    # --- workers ------------------------------------------------------------------------------------------------------

    def register_worker(self, worker: r.NewWorker, *, lease_s: float) -> r.Beat:
        """Make the worker known with a first lease of lease_s seconds. Raises Conflict when the id was used before."""
        return self._database.write(lambda tx: leases.register(tx, worker, lease_s))

    def heartbeat(self, worker_id: str, *, lease_s: float, state: str = "live", facts: Mapping[str, Any] | None = None) -> r.Beat:
        """Renew all leases of the worker for lease_s seconds from now; false when the worker was given up.

        state: live | draining.
        """
        return self._database.write(lambda tx: leases.beat(tx, worker_id, lease_s, state, facts))

    def retire_worker(self, worker_id: str) -> None:
        """The worker is done; leases it still holds are free for the next rescue()."""
        self._database.write(lambda tx: leases.retire(tx, worker_id))

    def claim(
        self,
        worker_id: str,
        agents: Sequence[str],
        n: int,
        *,
        tenants: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        release: int | None = None,
        told: bool = False,
    ) -> list[r.Claim]:
        """Lease up to n queued tasks of these agents (and tenants): highest priority first, fair between tenants, then oldest.

        limits: attempts at the same time over all workers, by "agent:NAME", "tenant:NAME" and "tenant:*" (each other tenant).
        release: leave tasks alone whose checkpoint a newer release wrote. told: somebody said that there are some, so it is not
        asked first without a lock.
        Empty when there are none, or the worker is not live.
        """
        if n <= 0 or not (told or self._database.read(lambda tx: claiming.worth_claiming(tx, agents))):
            return []
        wanted = Wanted(agents=tuple(agents), tenants=tuple(tenants), limits=limits or {}, release=release)
        return self._database.write(lambda tx: claiming.claim(tx, worker_id, wanted, n))

    def journal(self, entries: Sequence[r.Entry]) -> list[r.Written]:
        """Write entries in one transaction, each only while its lease token is the task's; answers in the order given."""
        return self._database.write(lambda tx: journal.write(tx, entries)) if entries else []

    def append(self, items: Sequence[r.Append]) -> list[bool]:
        """Append events without a lease; False where there is no such task."""
        return self._database.write(lambda tx: journal.append(tx, items)) if items else []

    def intents(self, worker_id: str) -> list[r.Intent]:
        """What clients want of the tasks this worker leases."""
        return self._database.read(lambda tx: leases.intents(tx, worker_id))

    def leases(self, worker_id: str) -> dict[str, str]:
        """Task id -> lease token of every lease of this worker."""
        return self._database.read(lambda tx: leases.leases(tx, worker_id))

    def rescue(
        self, *, dead: Sequence[str] = (), found_by: str = "", grace_s: float = 0.0, quarantine_after: int = 3
    ) -> list[r.Rescued]:
        """Take tasks from workers whose lease ended more than grace_s ago, that retired, or that are known to be `dead`.

        Requeued as worker_lost without using an attempt; after `quarantine_after` losses on one checkpoint paused as escalated.
        Calls in flight are settled at their hold. Transactions of workers that stand still are ended first.
        """
        self._database.end_stalled()
        if not self._database.read(lambda tx: rescuing.worth_rescuing(tx, dead, grace_s)):
            return []
        self._database.write(lambda tx: rescuing.give_up(tx, dead, grace_s))
        rescued: list[r.Rescued] = []
        while batch := self._database.write(lambda tx: rescuing.rescue(tx, found_by, quarantine_after)):
            rescued += batch
        return rescued

    def expire_waits(self, limit: int = 500) -> list[r.Expired]:
        """Fail tasks that waited longer than queue_s for a worker or approval_s for a human."""
        if not self._database.read(lambda tx: waits.overdue(tx, 1)):
            return []
        return self._database.write(lambda tx: waits.expire(tx, limit))

    def take_wakes(self, limit: int = 500, *, older_than_s: float = 0.0) -> list[r.Wake]:
        """The outbox: queued tasks that wait to be announced since older_than_s; each is given to one caller only."""
        if not self._database.read(lambda tx: leases.worth_announcing(tx, older_than_s)):
            return []
        return self._database.write(lambda tx: leases.take_wakes(tx, limit, older_than_s))

    def wake_again(self, task_ids: Sequence[str]) -> None:
        """These tasks could not be announced after all; they wait in the outbox again."""
        if task_ids:
            self._database.write(lambda tx: leases.wake_again(tx, list(task_ids)))

    # --- the gateway --------------------------------------------------------------------------------------------------

    def reserve(self, items: Sequence[r.Reserve]) -> list[r.Reserved | r.Refused]:
        """Reserve room for calls, all in one transaction, each granted or refused by itself; answers in the order given."""
        return self._database.write(lambda tx: reserving.reserve(tx, items)) if items else []

    def settle(self, items: Sequence[r.Settle]) -> list[r.Settled]:
        """Settle reserved calls in one transaction; repeating one changes nothing. Works after the lease is gone."""
        return self._database.write(lambda tx: settling.settle(tx, items)) if items else []

    def meter(self, items: Sequence[metering.Metered]) -> list[Any]:
        """Settle, append, record, then reserve, all in one transaction; the answers of each, in the order given."""
        return self._database.write(lambda tx: metering.meter(tx, items)) if items else []

    def record(self, items: Sequence[r.Recording]) -> list[bool]:
        """Keep answers of models in one transaction; repeating one changes nothing. False where there is no room."""
        return self._database.write(lambda tx: recording.record(tx, items)) if items else []

    def forget_recordings(self, task_id: str) -> None:
        """Drop the recorded answers of a task."""
        self._database.write(lambda tx: recording.forget(tx, task_id))

    def settle_orphans(self, *, lease_tokens: Sequence[str] = (), older_than_s: float | None = None, limit: int = 500) -> int:
        """Settle calls in flight at their hold; returns how many.

        Those reserved under these leases, and with older_than_s also older ones whose lease is not the task's any more.
        """
        return self._database.write(lambda tx: settling.settle_orphans(tx, lease_tokens, older_than_s, limit))

    def _changed(self, task_id: str, work: Callable[[Writing], None]) -> TaskDocument:
        """Do the work and read the task back in the same transaction."""

        def both(tx: Writing) -> TaskDocument:
            work(tx)
            tx.flush()
            return document(tx, task_id, None)

        return self._database.write(both)
