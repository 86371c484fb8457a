"""A transaction that reads: one snapshot, rows out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Executable, select

from tether.store.dialect import Dialect
from tether.store.prepared import Form, Prepared

__all__ = ["DriverError", "Reading"]


class DriverError(Exception):
    """What a driver raised under a prepared statement. lost: the connection is gone."""

    def __init__(self, orig: BaseException, *, lost: bool) -> None:
        self.orig = orig
        self.lost = lost
        super().__init__(str(orig))


class Reading:
    """Statements on one connection. executed: how many got through, which tells whether a lost connection may be tried again."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.executed = 0
        self._driver: Any = connection.connection.dbapi_connection

    def all(self, statement: Executable | Prepared, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows."""
        if isinstance(statement, Prepared):
            given = parameters or {}
            form = statement.form(self.dialect, given)
            return form.rows(self._send(form, form.values(given)))
        rows = self.connection.execute(statement, parameters).all()
        self.executed += 1
        return rows

    def one(self, statement: Executable | Prepared, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first row or None."""
        rows = self.all(statement, parameters)
        return rows[0] if rows else None

    @cached_property
    def now_ms(self) -> int:
        """The database's clock, read once per transaction."""
        return self.one(_NOW)[0]

    def _send(self, form: Form, values: Any, *, many: bool = False) -> Any:
        cursor = self._driver.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(form.text, values)
        except self.dialect.engine.dialect.loaded_dbapi.Error as error:
            raise self._failed(error, cursor) from error
        self.executed += 1
        return cursor

    @contextmanager
    def _together(self) -> Generator[None]:
        """Statements sent in here are not waited for one by one."""
        try:
            with self.dialect.together(self._driver):
                yield
        except self.dialect.engine.dialect.loaded_dbapi.Error as error:
            raise self._failed(error, None) from error

    def _failed(self, error: Any, cursor: Any) -> DriverError:
        lost = self.dialect.engine.dialect.is_disconnect(error, self._driver, cursor)
        if lost:
            self.connection.invalidate(error)
            self.dialect.engine.dispose()  # the other pooled connections went with the same server
        return DriverError(error, lost=lost)


_NOW = Prepared(lambda dialect: select(dialect.now_ms()))
