"""The truth: tasks, journal, leases, budgets, checkpoints in SQLite or PostgreSQL, behind one class."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from tether.store import schema
from tether.store.database import Database, dialect_of
from tether.store.store import Store

__all__ = ["Store", "open_store"]


def open_store(url: str, *, migrate: bool = False) -> Store:
    """The store at `url` (sqlite:///path or postgresql://…).

    A new SQLite file is made by itself; any other store of an older schema is upgraded only with migrate=True
    (`tether db upgrade`). Raises ConfigurationError for a bad URL, StoreUnavailable when it cannot be opened, StoreTooNew when a
    newer Tether upgraded it.
    """
    dialect = dialect_of(url)
    try:
        schema.ensure(dialect, migrate=migrate)
    except DBAPIError as error:
        dialect.close()
        known = dialect.explain(error.orig) if error.orig is not None else None
        raise known or error from None
    except BaseException:
        dialect.close()
        raise
    return Store(Database(dialect))
