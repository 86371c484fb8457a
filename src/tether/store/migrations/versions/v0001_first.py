"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TYPES = {"text": sa.Text(), "int": _int, "blob": sa.LargeBinary()}

#: table: (primary key, columns as name:type, ? for nullable)
_TABLES = {
    "approvals": (
        "id",
        """
        id:text task_id:text tenant:text kind:text question:text key:text? state:text details:blob
        decision:blob? created_at_ms:int expires_at_ms:int? decided_at_ms:int? decided_by:text?
        """,
    ),
    "artifacts": (
        "task_id name",
        """
        task_id:text name:text attempt:int size_bytes:int sha256:text url:text content_type:text?
        created_at_ms:int
        """,
    ),
    "attempts": (
        "task_id number",
        """
        task_id:text number:int lease_token:text worker_id:text state:text reason:text? message:text?
        isolation:text agent_version:text? from_checkpoint:int active_ms:int started_at_ms:int
        ended_at_ms:int?
        """,
    ),
    "budgets": (
        "task_id",
        """
        task_id:text lease_token:text? open:int epoch:int warned:int llm_calls:int max_llm_calls:int
        kept_llm_calls:int nanousd:int held_nanousd:int max_nanousd:int kept_nanousd:int tokens:int
        held_tokens:int max_tokens:int kept_tokens:int web_requests:int max_web_requests:int tool_calls:int
        max_tool_calls:int steps:int max_steps:int web_counting:text
        """,
    ),
    "calls": (
        "task_id call_id",
        """
        task_id:text call_id:text lease_token:text attempt:int step:int? kind:text name:text state:text
        hold_nanousd:int hold_tokens:int nanousd:int input_tokens:int? output_tokens:int? outcome:text?
        status:int? context_window:int? created_at_ms:int ended_at_ms:int?
        """,
    ),
    "checkpoints": (
        "task_id number",
        """
        task_id:text number:int base:int attempt:int step:int seq:int agent_version:text? created_at_ms:int
        data:blob
        """,
    ),
    "events": (
        "id",
        """
        task_id:text seq:int attempt:int? step:int? type:text at_ms:int data:blob
        """,
    ),
    "holds": (
        "id",
        """
        id:text stop:text agent:text? task_type:text? model:text? tenant:text? note:text by:text
        created_at_ms:int
        """,
    ),
    "payloads": (
        "task_id name",
        """
        task_id:text name:text data:blob
        """,
    ),
    "tags": (
        "tag task_id",
        """
        tag:text task_id:text
        """,
    ),
    "tasks": (
        "id",
        """
        id:text tenant:text user:text? agent:text task_type:text state:text reason:text? message:text
        note:text priority:int revision:int created_at_ms:int updated_at_ms:int ended_at_ms:int? since_ms:int
        ready_ms:int? wait_until_ms:int? wake:int last_seq:int attempt:int lease_token:text? worker_id:text?
        parked:int wants:text claimed_epoch:int agent_version:text? max_attempts:int failures:int losses:int
        losses_at:int active_ms:int checkpoint:int checkpoint_base:int timeouts:text idempotency_key:text?
        idempotency_hash:text?
        """,
    ),
    "workers": (
        "id",
        """
        id:text host:text boot_id:text pid:int start_time:int slots:int agents:text version:text facts:text
        state:text started_at_ms:int beat_at_ms:int lease_until_ms:int
        """,
    ),
}

#: index (ux_ is unique), table, columns (- is descending), condition
_INDEXES = (
    ("ix_approvals_state", "approvals", "state id", ""),
    ("ix_approvals_task", "approvals", "task_id id", ""),
    ("ux_approvals_open", "approvals", "task_id", "state = 'open'"),
    ("ix_calls_held", "calls", "created_at_ms", "state = 'held'"),
    ("ix_calls_lease", "calls", "lease_token", "state = 'held'"),
    ("ux_events_seq", "events", "task_id seq", ""),
    ("ix_tags_task", "tags", "task_id", ""),
    ("ix_tasks_agent", "tasks", "agent id", ""),
    ("ix_tasks_claim", "tasks", "agent priority- id", "state = 'queued' AND ready_ms IS NULL"),
    ("ix_tasks_ended", "tasks", "ended_at_ms", "ended_at_ms IS NOT NULL"),
    ("ix_tasks_ready", "tasks", "ready_ms", "state = 'queued' AND ready_ms IS NOT NULL"),
    ("ix_tasks_state", "tasks", "state id", ""),
    ("ix_tasks_tenant", "tasks", "tenant id", ""),
    ("ix_tasks_type", "tasks", "task_type id", ""),
    ("ix_tasks_user", "tasks", "user id", '"user" IS NOT NULL'),
    ("ix_tasks_wait", "tasks", "wait_until_ms", "wait_until_ms IS NOT NULL"),
    ("ix_tasks_wake", "tasks", "id", "wake = 1"),
    ("ix_tasks_worker", "tasks", "worker_id", "lease_token IS NOT NULL"),
    ("ux_tasks_idempotency", "tasks", "tenant idempotency_key", "idempotency_key IS NOT NULL"),
    ("ix_workers_state", "workers", "state lease_until_ms", ""),
)


def upgrade() -> None:
    """Make all tables and indexes."""
    for name, (key, columns) in _TABLES.items():
        op.create_table(
            name, *_own_columns(name), *map(_column, columns.split()), sa.PrimaryKeyConstraint(*key.split()), **_options(name)
        )
    for name, table, columns, condition in _INDEXES:
        where = sa.text(condition) if condition else None
        op.create_index(
            name,
            table,
            [_indexed(c) for c in columns.split()],
            unique=name.startswith("ux_"),
            sqlite_where=where,
            postgresql_where=where,
        )
    if _on_postgres():
        op.execute("ALTER TABLE events ALTER COLUMN txid SET DEFAULT (pg_current_xact_id()::text)::bigint")
        op.create_index("ix_events_txid", "events", ["txid", "id"])
        for table in ("tasks", "budgets", "workers"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)")


def _on_postgres() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _own_columns(table: str) -> list[sa.Column[int]]:
    if table != "events":
        return []
    return [sa.Column("id", _int, autoincrement=True, nullable=False), sa.Column("txid", sa.BigInteger(), nullable=True)]


def _options(table: str) -> dict[str, bool]:
    return {"sqlite_autoincrement": True} if table == "events" else {}


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    return sa.Column(name, _TYPES[kind.rstrip("?")], nullable=kind.endswith("?"))


def _indexed(column: str) -> str | sa.TextClause:
    return sa.text(f"{column[:-1]} DESC") if column.endswith("-") else column
