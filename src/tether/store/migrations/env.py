"""Alembic's entry: runs on the connection that tether.store.schema hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from tether.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
