"""Schema versions of the store, applied by Alembic."""
