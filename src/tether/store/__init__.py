"""The truth: tasks, journal, leases, budgets, checkpoints in SQLite or PostgreSQL, behind one class."""

from __future__ import annotations

from tether.store.store import Store

__all__ = ["Store", "open_store"]


def open_store(url: str, *, migrate: bool = False) -> Store:
    """The store at `url` (sqlite:///path or postgresql://…).

    A new SQLite file is made and migrated by itself; any other store of an older schema only with migrate=True (`tether db upgrade`).
    Raises ConfigurationError for a bad URL, StoreUnavailable when it cannot be opened, StoreTooNew when a newer Tether upgraded it.
    """
    raise NotImplementedError
