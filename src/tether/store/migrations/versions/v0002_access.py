"""Keys, audit log, uploads, sealed secrets, webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TYPES = {"text": sa.Text(), "int": _int, "blob": sa.LargeBinary()}

#: table: (primary key, columns as name:type, ? for nullable)
_TABLES = {
    "audit": (
        "id",
        "id:text at_ms:int tenant:text actor:text address:text action:text object:text detail:blob outcome:text",
    ),
    "cursors": ("name", "name:text cursor:text updated_at_ms:int"),
    "deliveries": (
        "id",
        """
        id:text endpoint_id:text tenant:text url:text task_id:text seq:int type:text state:text tries:int created_at_ms:int
        first_try_at_ms:int? next_at_ms:int done_at_ms:int? status:int? error:text?
        """,
    ),
    "endpoints": (
        "id",
        """
        id:text tenant:text url:text format:text kinds:text secret:blob state:text created_by:text created_at_ms:int
        """,
    ),
    "keys": (
        "id",
        """
        id:text tenant:text name:text prefix:text hash:text scopes:text created_by:text created_at_ms:int expires_at_ms:int?
        revoked_at_ms:int? last_used_at_ms:int? rate_per_s:int?
        """,
    ),
    "secrets": ("task_id", "task_id:text data:blob?"),
    "uploads": (
        "id",
        """
        id:text tenant:text name:text size_bytes:int sha256:text content_type:text? created_by:text created_at_ms:int
        """,
    ),
}

#: index (ux_ is unique), table, columns, condition
_INDEXES = (
    ("ix_audit_object", "audit", "object", ""),
    ("ix_audit_tenant", "audit", "tenant id", ""),
    ("ix_deliveries_due", "deliveries", "next_at_ms", "state = 'pending'"),
    ("ix_deliveries_task", "deliveries", "task_id", ""),
    ("ix_deliveries_tenant", "deliveries", "tenant id", ""),
    ("ix_endpoints_tenant", "endpoints", "tenant id", ""),
    ("ux_endpoints_single", "endpoints", "tenant", "url = ''"),
    ("ux_keys_hash", "keys", "hash", ""),
    ("ix_keys_tenant", "keys", "tenant id", ""),
    ("ix_uploads_tenant", "uploads", "tenant id", ""),
)


def upgrade() -> None:
    """Make the tables and indexes."""
    for name, (key, columns) in _TABLES.items():
        op.create_table(name, *map(_column, columns.split()), sa.PrimaryKeyConstraint(*key.split()))
    for name, table, columns, condition in _INDEXES:
        where = sa.text(condition) if condition else None
        unique = name.startswith("ux_")
        op.create_index(name, table, columns.split(), unique=unique, sqlite_where=where, postgresql_where=where)


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    return sa.Column(name, _TYPES[kind.rstrip("?")], nullable=kind.endswith("?"))
