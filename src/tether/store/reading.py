"""A transaction that reads: one snapshot, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Executable, Row, select

from tether.store.dialect import Dialect

__all__ = ["Reading"]


class Reading:
    """Statements on one connection. executed: how many got through, which tells whether a lost connection may be tried again."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.executed = 0

    def all(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All rows."""
        rows = self.connection.execute(statement, parameters).all()
        self.executed += 1
        return rows

    def one(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Row[Any] | None:
        """The first row or None."""
        row = self.connection.execute(statement, parameters).first()
        self.executed += 1
        return row

    @cached_property
    def now_ms(self) -> int:
        """The database's clock, read once per transaction."""
        row = self.one(select(self.dialect.now_ms()))
        assert row is not None
        return row[0]
