"""The part of the store that serves the API: keys, audit log, uploads, secrets, webhooks, sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select

from tether.store import access_rows as a
from tether.store import delivering, figures, forgetting, hooks, keys, listing, uploads
from tether.store import rows as r
from tether.store.access_tables import audit, deliveries
from tether.store.database import Database
from tether.store.reading import Reading
from tether.store.tables import tasks
from tether.store.taskdocs import read_documents
from tether.store.taskrow import TaskRow, select_tasks
from tether.store.writing import Writing
from tether.task import TaskDocument

__all__ = ["Access"]


class Access:
    """What the API asks of a store beyond tasks and journal; one transaction per method."""

    _database: Database

    # --- tasks as the API needs them

    def documents(self, task_ids: Sequence[str]) -> dict[str, TaskDocument]:
        """Task id -> document, of those that exist; in a bounded number of statements."""

        def work(tx: Reading) -> dict[str, TaskDocument]:
            rows = [TaskRow.of(row) for row in tx.all(select_tasks().where(tasks.c.id.in_(list(task_ids))))]
            return {document.id: document for document in read_documents(tx, rows)}

        return self._database.read(work)

    def versioned(self, task_id: str, *, tenant: str | None = None) -> tuple[TaskDocument, int]:
        """The task and its revision, in one snapshot. Raises NotFound."""

        def work(tx: Reading) -> tuple[TaskDocument, int]:
            row = listing.found(tx, task_id, tenant)
            return read_documents(tx, [row])[0], row.revision

        return self._database.read(work)

    def with_content(self, task_ids: Sequence[str]) -> dict[str, bool]:
        """Task id -> whether it still has its goal (an erased one has not), of those that exist."""
        return self._database.read(lambda tx: forgetting.with_content(tx, task_ids))

    def keyed(self, tenant: str, idempotency_key: str) -> str | None:
        """The id of the task that was submitted with this key."""
        query = select(tasks.c.id).where(tasks.c.tenant == tenant, tasks.c.idempotency_key == idempotency_key)
        row = self._database.read(lambda tx: tx.one(query))
        return None if row is None else row.id

    def sealed_secrets(self, task_id: str) -> bytes | None:
        """The sealed secrets of a task (see tether.secrets.Vault); None without, or when it ended."""
        return self._database.read(lambda tx: uploads.sealed(tx, task_id))

    # --- keys and the audit log

    def add_key(self, new: a.NewKey) -> a.KeyRow:
        """Store a key by its hash."""
        return self._database.write(lambda tx: keys.add(tx, new))

    def key_by_hash(self, digest: str) -> a.KeyRow | None:
        """The key with that sha256, valid or not."""
        return self._database.read(lambda tx: keys.by_hash(tx, digest))

    def key(self, key_id: str, *, tenant: str | None = None) -> a.KeyRow:
        """One key. Raises NotFound."""
        return self._database.read(lambda tx: keys.one(tx, key_id, tenant))

    def keys(self, *, tenant: str | None = None, limit: int = 50, cursor: str | None = None) -> r.Page[a.KeyRow]:
        """Keys, newest first, revoked ones too."""
        return self._database.read(lambda tx: keys.key_page(tx, tenant, limit, cursor))

    def revoke_key(self, key_id: str, *, tenant: str | None = None, at_ms: int | None = None) -> a.KeyRow:
        """Worth nothing from now (or at_ms) on. Raises NotFound."""
        return self._database.write(lambda tx: keys.revoke(tx, key_id, tenant, at_ms))

    def touch_keys(self, used: Mapping[str, int]) -> None:
        """Key id -> when it was used last, Unix milliseconds."""
        if used:
            self._database.write(lambda tx: keys.touch(tx, used))

    def audit_begin(self, new: a.NewAudit) -> str:
        """Write down what is asked, before it is done; the line's id."""
        return self._database.write(lambda tx: keys.begin(tx, new))

    def audit_end(self, line_id: str, outcome: str, about: str | None = None) -> None:
        """How it ended: "done" or the code of an error; about: the id of what it made."""
        self._database.write(lambda tx: keys.conclude(tx, line_id, outcome, about))

    def audit(
        self, *, tenant: str | None = None, about: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> r.Page[a.AuditRow]:
        """The audit log, newest first; about: only of one object."""
        return self._database.read(lambda tx: keys.audit_page(tx, tenant, about, limit, cursor))

    # --- uploads

    def add_upload(self, new: a.NewUpload, *, most_bytes: int) -> a.UploadRow:
        """Store it unless the tenant's files would pass most_bytes together; raises ValidationError."""
        return self._database.write(lambda tx: uploads.add(tx, new, most_bytes))

    def upload(self, upload_id: str, *, tenant: str | None = None) -> a.UploadRow:
        """One upload. Raises NotFound."""
        return self._database.read(lambda tx: uploads.one(tx, upload_id, tenant))

    def uploads(self, *, tenant: str | None = None, limit: int = 50, cursor: str | None = None) -> r.Page[a.UploadRow]:
        """Uploads, newest first."""
        return self._database.read(lambda tx: uploads.page(tx, tenant, limit, cursor))

    def forget_upload(self, upload_id: str, *, tenant: str | None = None) -> a.UploadRow:
        """Delete its row; the caller deletes the bytes. Raises NotFound."""
        return self._database.write(lambda tx: uploads.forget(tx, upload_id, tenant))

    def old_uploads(self, older_than_s: float, limit: int = 500) -> list[str]:
        """Ids of uploads made before."""
        return self._database.read(lambda tx: uploads.old(tx, older_than_s, limit))

    # --- webhooks

    def add_endpoint(self, new: a.NewEndpoint, *, most: int) -> a.EndpointRow:
        """Store a webhook endpoint; raises ValidationError when the tenant has `most` already."""
        return self._database.write(lambda tx: hooks.add(tx, new, most))

    def endpoint(self, endpoint_id: str, *, tenant: str | None = None) -> a.EndpointRow:
        """One endpoint. Raises NotFound."""
        return self._database.read(lambda tx: hooks.endpoint(tx, endpoint_id, tenant))

    def endpoints(self, *, tenant: str | None = None, limit: int = 50, cursor: str | None = None) -> r.Page[a.EndpointRow]:
        """Endpoints, newest first."""
        return self._database.read(lambda tx: hooks.endpoint_page(tx, tenant, limit, cursor))

    def remove_endpoint(self, endpoint_id: str, *, tenant: str | None = None) -> None:
        """Remove it; what is pending for it is given up. Raises NotFound."""
        self._database.write(lambda tx: hooks.remove(tx, endpoint_id, tenant))

    def disable_endpoint(self, endpoint_id: str) -> None:
        """Send nothing more to it."""
        self._database.write(lambda tx: hooks.disable(tx, endpoint_id))

    def single_endpoint(self, tenant: str, sealed: bytes) -> a.EndpointRow:
        """The row that signs for the webhook_url of single tasks; `sealed` is its secret when it is new."""
        return self._database.write(lambda tx: hooks.single(tx, tenant, sealed))

    def route_webhooks(self, sealed: bytes, limit: int = 500) -> int:
        """Turn new events of the journal into deliveries, each exactly once; returns how many events were read."""
        if not self._database.read(hooks.worth_routing):
            return 0
        return self._database.write(lambda tx: hooks.route(tx, limit, sealed))

    def test_delivery(self, endpoint_id: str, *, tenant: str | None = None) -> a.DeliveryRow:
        """Queue a delivery that tells of nothing. Raises NotFound, Conflict."""
        return self._database.write(lambda tx: hooks.test(tx, endpoint_id, tenant))

    def take_deliveries(
        self, limit: int = 20, lease_s: float = 60.0, *, busy: Mapping[str, int] | None = None, each: int = 20
    ) -> list[a.DeliveryRow]:
        """Due deliveries, for this caller alone for lease_s seconds; at most `each` to one endpoint, those under way counted."""
        if not self._database.read(delivering.worth_taking):
            return []
        return self._database.write(lambda tx: delivering.take(tx, limit, lease_s, busy or {}, each))

    def delivered(self, delivery_id: str, status: int) -> None:
        """It was taken by the other side."""
        self._database.write(lambda tx: delivering.delivered(tx, delivery_id, status))

    def not_delivered(self, delivery_id: str, status: int | None, error: str, again_in_s: float | None) -> None:
        """It failed; tried again in again_in_s seconds, dead when None."""
        self._database.write(lambda tx: delivering.failed(tx, delivery_id, status, error, again_in_s))

    def delivery(self, delivery_id: str, *, tenant: str | None = None) -> a.DeliveryRow:
        """One delivery. Raises NotFound."""
        return self._database.read(lambda tx: delivering.delivery(tx, delivery_id, tenant))

    def deliveries(
        self, *, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> r.Page[a.DeliveryRow]:
        """Deliveries, newest first; state: pending | delivered | dead."""
        return self._database.read(lambda tx: delivering.delivery_page(tx, tenant, state, limit, cursor))

    def replay_delivery(self, delivery_id: str, *, tenant: str | None = None) -> a.DeliveryRow:
        """Send a delivered or dead one again. Raises NotFound, Conflict."""
        return self._database.write(lambda tx: delivering.replay(tx, delivery_id, tenant))

    # --- sums and retention

    def usage_by(self, where: figures.UsageFilter) -> list[dict[str, Any]]:
        """What was spent, one row per group."""
        return self._database.read(lambda tx: figures.usage(tx, where))

    def figures(self, *, tenant: str | None = None) -> figures.Figures:
        """Counts for Prometheus."""
        return self._database.read(lambda tx: figures.figures(tx, tenant))

    def prune_ended(self, older_than_s: float, limit: int = 500) -> list[str]:
        """Delete up to `limit` tasks that ended before, with all their rows; their ids, so that files can follow."""
        return self._database.write(lambda tx: forgetting.prune(tx, older_than_s, limit))

    def prune_access(self, older_than_s: float) -> int:
        """Delete audit lines and finished deliveries from before; returns how many."""

        def work(tx: Writing) -> int:
            before = tx.now_ms - int(older_than_s * 1000)
            gone = tx.run(delete(audit).where(audit.c.at_ms < before))
            return gone + tx.run(delete(deliveries).where(deliveries.c.state != "pending", deliveries.c.done_at_ms < before))

        return self._database.write(work)
