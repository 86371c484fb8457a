"""Transactions as functions: the one place where work meets a connection and where a driver's errors become ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tether.errors import ConfigurationError, StoreUnavailable
from tether.store.dialect import Dialect
from tether.store.postgres import Postgres
from tether.store.reading import DriverError, Reading
from tether.store.sqlite import SQLite
from tether.store.writing import Writing

__all__ = ["Database", "dialect_of"]

T = TypeVar("T")
_Failure: TypeAlias = DBAPIError | DriverError
_TRIES = 3


class Database:
    """Runs functions in transactions; a function may be called again after a deadlock, so it changes nothing but the store."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def write(self, work: Callable[[Writing], T]) -> T:
        """The result of `work` after its commit. Raises StoreUnavailable."""

        def attempt() -> tuple[T | None, _Failure | None, bool]:
            transaction: Writing | None = None
            try:
                with self.dialect.writer() as connection:
                    transaction = Writing(connection, self.dialect)
                    result = work(transaction)
                    transaction.flush()
                return result, None, False
            except (DBAPIError, DriverError) as error:
                return None, error, self._may_repeat(error, transaction)

        return self._tried(attempt)

    def read(self, work: Callable[[Reading], T]) -> T:
        """The result of `work` on one snapshot. Raises StoreUnavailable."""

        def attempt() -> tuple[T | None, _Failure | None, bool]:
            try:
                with self.dialect.reader() as connection:
                    return work(Reading(connection, self.dialect)), None, False
            except (DBAPIError, DriverError) as error:
                return None, error, _lost(error)

        return self._tried(attempt)

    def end_stalled(self) -> None:
        """End the transactions of clients that stand still in the middle of one. Raises StoreUnavailable."""
        self.read(lambda tx: self.dialect.end_stalled(tx.connection))

    def _tried(self, attempt: Callable[[], tuple[Any, _Failure | None, bool]]) -> Any:
        for left in reversed(range(_TRIES)):
            try:
                result, error, again = attempt()
            except PoolTimeout:
                raise StoreUnavailable("all connections to the store are busy; try again") from None
            if error is None:
                return result
            if not (again and left):
                raise self._explained(error) from error
        raise AssertionError("unreachable")

    def _may_repeat(self, error: _Failure, transaction: Writing | None) -> bool:
        if _lost(error):
            return transaction is None or transaction.executed == 0
        return error.orig is not None and self.dialect.may_repeat(error.orig)

    def _explained(self, error: _Failure) -> Exception:
        return (self.dialect.explain(error.orig) if error.orig is not None else None) or error


def _lost(error: _Failure) -> bool:
    return error.lost if isinstance(error, DriverError) else error.connection_invalidated


def dialect_of(url: str) -> Dialect:
    """The dialect for a store URL. Raises ConfigurationError naming store.url."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "store.url", "is not a URL", "write sqlite:///tether.db or postgresql://user@host/name"
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite":
        return SQLite(_without_driver(parsed, "sqlite"))
    if kind in ("postgresql", "postgres"):
        return Postgres(_without_driver(parsed, "postgresql"))
    raise ConfigurationError("store.url", f"{kind!r} is not a store", "write sqlite:///tether.db or postgresql://user@host/name")


def _without_driver(url: URL, name: str) -> URL:
    if url.drivername not in (name, "postgres", "postgresql+psycopg", "sqlite+pysqlite"):
        raise ConfigurationError("store.url", f"the driver {url.drivername!r} is not used", f"write {name}://…")
    return url.set(drivername=name)
