"""Claims go line by line: the tasks of one tenant that wait for one agent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'queued' AND ready_ms IS NULL")
_LEASED = sa.text("lease_token IS NOT NULL")


def upgrade() -> None:
    """Exchange the index that claims use."""
    line = ["agent", "tenant", sa.text("priority DESC"), "id"]
    op.create_index("ix_tasks_line", "tasks", line, sqlite_where=_QUEUED, postgresql_where=_QUEUED)
    op.create_index("ix_tasks_running", "tasks", ["agent", "tenant"], sqlite_where=_LEASED, postgresql_where=_LEASED)
    op.drop_index("ix_tasks_claim", "tasks")
