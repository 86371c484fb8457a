"""The tables, as SQLAlchemy Core objects; migrations/versions hold the statements that make them.

Every text of a closed list (states, reasons, kinds) is stored as text; every time is Unix milliseconds by the database's clock;
money is integer nano-dollars; 0 and 1 are booleans. There are no foreign keys: a transaction that writes any row of
a task first locks its row in `tasks` (in ascending order of ids), which also rules deadlocks out.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text, text

__all__ = [
    "approvals",
    "artifacts",
    "attempts",
    "budgets",
    "calls",
    "checkpoints",
    "events",
    "holds",
    "metadata",
    "payloads",
    "recordings",
    "tags",
    "tasks",
    "workers",
]

metadata = MetaData()
_big = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, _big, nullable=null)


def _blob(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


#: Hot and small: large texts are in `payloads`, because SQLite rewrites a whole row for each change of a counter.
tasks = Table(
    "tasks",
    metadata,
    _text("id"),
    _text("tenant"),
    _text("user", null=True),
    _text("agent"),
    _text("task_type"),
    _text("state"),
    _text("reason", null=True),
    _text("message"),
    _text("note"),
    _int("priority"),
    _int("revision"),
    _int("created_at_ms"),
    _int("updated_at_ms"),
    _int("ended_at_ms", null=True),
    _int("since_ms"),  # in this state
    _int("ready_ms", null=True),  # queued, but not before
    _int("wait_until_ms", null=True),  # queued or paused: fails then
    _int("wake"),  # 1: to be announced to the broker
    _int("last_seq"),
    _int("attempt"),  # number of the newest one
    _text("lease_token", null=True),
    _text("worker_id", null=True),
    _int("parked"),  # paused with a live lease
    _text("wants"),  # intents of clients for the lease holder: {kind: {by, note}}; hold: what a paused task waits for
    _int("claimed_epoch"),
    _text("agent_version", null=True),
    _int("max_attempts"),
    _int("failures"),
    _int("losses"),
    _int("losses_at"),  # checkpoint number the losses happened on
    _int("active_ms"),
    _int("checkpoint"),  # number of the newest one, 0 without
    _int("checkpoint_base"),
    _text("timeouts"),
    _text("idempotency_key", null=True),
    _text("idempotency_hash", null=True),
    Column("needs", _big, nullable=False, server_default="0"),  # release number of the newest checkpoint's writer
    PrimaryKeyConstraint("id"),
)
_queued = text("state = 'queued' AND ready_ms IS NULL")
_delayed = text("state = 'queued' AND ready_ms IS NOT NULL")
_leased = text("lease_token IS NOT NULL")
_waiting = text("wait_until_ms IS NOT NULL")
_wake = text("wake = 1")
_keyed = text("idempotency_key IS NOT NULL")
_ended = text("ended_at_ms IS NOT NULL")
_owned = text('"user" IS NOT NULL')
Index(
    "ix_tasks_line",
    tasks.c.agent,
    tasks.c.tenant,
    tasks.c.priority.desc(),
    tasks.c.id,
    sqlite_where=_queued,
    postgresql_where=_queued,
)
Index("ix_tasks_running", tasks.c.agent, tasks.c.tenant, sqlite_where=_leased, postgresql_where=_leased)
Index("ix_tasks_ready", tasks.c.ready_ms, sqlite_where=_delayed, postgresql_where=_delayed)
Index("ix_tasks_worker", tasks.c.worker_id, sqlite_where=_leased, postgresql_where=_leased)
Index("ix_tasks_wait", tasks.c.wait_until_ms, sqlite_where=_waiting, postgresql_where=_waiting)
Index("ix_tasks_wake", tasks.c.id, sqlite_where=_wake, postgresql_where=_wake)
Index(
    "ux_tasks_idempotency",
    tasks.c.tenant,
    tasks.c.idempotency_key,
    unique=True,
    sqlite_where=_keyed,
    postgresql_where=_keyed,
)
Index("ix_tasks_state", tasks.c.state, tasks.c.id)
Index("ix_tasks_tenant", tasks.c.tenant, tasks.c.id)
Index("ix_tasks_agent", tasks.c.agent, tasks.c.id)
Index("ix_tasks_type", tasks.c.task_type, tasks.c.id)
Index("ix_tasks_user", tasks.c.user, tasks.c.id, sqlite_where=_owned, postgresql_where=_owned)
Index("ix_tasks_ended", tasks.c.ended_at_ms, sqlite_where=_ended, postgresql_where=_ended)

tags = Table("tags", metadata, _text("tag"), _text("task_id"), PrimaryKeyConstraint("tag", "task_id"))
Index("ix_tags_task", tags.c.task_id)

#: name: spec | result | partial | progress; packed JSON.
payloads = Table("payloads", metadata, _text("task_id"), _text("name"), _blob("data"), PrimaryKeyConstraint("task_id", "name"))

attempts = Table(
    "attempts",
    metadata,
    _text("task_id"),
    _int("number"),
    _text("lease_token"),
    _text("worker_id"),
    _text("state"),
    _text("reason", null=True),
    _text("message", null=True),
    _text("isolation"),
    _text("agent_version", null=True),
    _int("from_checkpoint"),
    _int("active_ms"),
    _int("started_at_ms"),
    _int("ended_at_ms", null=True),
    PrimaryKeyConstraint("task_id", "number"),
)

#: txid orders commits on PostgreSQL (see postgres.tail); SQLite has one writer, there `id` is enough.
events = Table(
    "events",
    metadata,
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("txid", BigInteger, nullable=True),
    _text("task_id"),
    _int("seq"),
    _int("attempt", null=True),
    _int("step", null=True),
    _text("type"),
    _int("at_ms"),
    _blob("data"),
    sqlite_autoincrement=True,
)
Index("ux_events_seq", events.c.task_id, events.c.seq, unique=True)

checkpoints = Table(
    "checkpoints",
    metadata,
    _text("task_id"),
    _int("number"),
    _int("base"),  # number of the whole state its chain starts with; its own for a whole state
    _int("attempt"),
    _int("step"),
    _int("seq"),  # of the event checkpoint_saved
    _text("agent_version", null=True),
    _int("created_at_ms"),
    _blob("data"),
    PrimaryKeyConstraint("task_id", "number"),
)

#: kept_…: what `wrap_up` keeps back for its last call. warned: bits of the limits whose 80 % was told.
budgets = Table(
    "budgets",
    metadata,
    _text("task_id"),
    _text("lease_token", null=True),
    _int("open"),
    _int("epoch"),
    _int("warned"),
    _int("llm_calls"),
    _int("max_llm_calls"),
    _int("kept_llm_calls"),
    _int("nanousd"),
    _int("held_nanousd"),
    _int("max_nanousd"),
    _int("kept_nanousd"),
    _int("tokens"),
    _int("held_tokens"),
    _int("max_tokens"),
    _int("kept_tokens"),
    _int("web_requests"),
    _int("max_web_requests"),
    _int("tool_calls"),
    _int("max_tool_calls"),
    _int("steps"),
    _int("max_steps"),
    _text("web_counting"),
    PrimaryKeyConstraint("task_id"),
)

#: state: held | settled.
calls = Table(
    "calls",
    metadata,
    _text("task_id"),
    _text("call_id"),
    _text("lease_token"),
    _int("attempt"),
    _int("step", null=True),
    _text("kind"),
    _text("name"),
    _text("state"),
    _int("hold_nanousd"),
    _int("hold_tokens"),
    _int("nanousd"),
    _int("input_tokens", null=True),
    _int("output_tokens", null=True),
    _text("outcome", null=True),
    _int("status", null=True),
    _int("context_window", null=True),
    _int("created_at_ms"),
    _int("ended_at_ms", null=True),
    PrimaryKeyConstraint("task_id", "call_id"),
)
_held = text("state = 'held'")
Index("ix_calls_lease", calls.c.lease_token, sqlite_where=_held, postgresql_where=_held)
Index("ix_calls_held", calls.c.created_at_ms, sqlite_where=_held, postgresql_where=_held)

approvals = Table(
    "approvals",
    metadata,
    _text("id"),
    _text("task_id"),
    _text("tenant"),
    _text("kind"),
    _text("question"),
    _text("key", null=True),
    _text("state"),
    _blob("details"),
    _blob("decision", null=True),
    _int("created_at_ms"),
    _int("expires_at_ms", null=True),
    _int("decided_at_ms", null=True),
    _text("decided_by", null=True),
    PrimaryKeyConstraint("id"),
)
_open = text("state = 'open'")
Index("ux_approvals_open", approvals.c.task_id, unique=True, sqlite_where=_open, postgresql_where=_open)
Index("ix_approvals_task", approvals.c.task_id, approvals.c.id)
Index("ix_approvals_state", approvals.c.state, approvals.c.id)

artifacts = Table(
    "artifacts",
    metadata,
    _text("task_id"),
    _text("name"),
    _int("attempt"),
    _int("size_bytes"),
    _text("sha256"),
    _text("url"),
    _text("content_type", null=True),
    _int("created_at_ms"),
    PrimaryKeyConstraint("task_id", "name"),
)

#: Answers of models to agents that cannot checkpoint; body: compressed, null for a call that has no answer yet.
recordings = Table(
    "recordings",
    metadata,
    _text("task_id"),
    _text("call_id"),
    _int("attempt"),
    _text("place"),  # fingerprint of the request
    _text("content_type", null=True),
    _blob("body", null=True),
    _int("created_at_ms"),
    PrimaryKeyConstraint("task_id", "call_id"),
)

workers = Table(
    "workers",
    metadata,
    _text("id"),
    _text("host"),
    _text("boot_id"),
    _int("pid"),
    _int("start_time"),
    _int("slots"),
    _text("agents"),
    _text("version"),
    _text("facts"),
    _text("state"),
    _int("started_at_ms"),
    _int("beat_at_ms"),
    _int("lease_until_ms"),
    PrimaryKeyConstraint("id"),
)
Index("ix_workers_state", workers.c.state, workers.c.lease_until_ms)

holds = Table(
    "holds",
    metadata,
    _text("id"),
    _text("stop"),
    _text("agent", null=True),
    _text("task_type", null=True),
    _text("model", null=True),
    _text("tenant", null=True),
    _text("note"),
    _text("by"),
    _int("created_at_ms"),
    PrimaryKeyConstraint("id"),
)
