"""Which release a task's newest checkpoint needs, so that workers of an older one leave it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column; the default lets workers that run already go on inserting."""
    op.add_column("tasks", sa.Column("needs", _int, nullable=False, server_default="0"))
