"""SQLite: one writer at a time, commits durable (WAL, synchronous=FULL), file readable by its owner only."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Integer, Select, create_engine, event, func, literal_column, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from tether.errors import ConfigurationError, StoreUnavailable
from tether.store.eventrows import event_of, tail_cursor, tail_select
from tether.store.reading import DriverError
from tether.store.rows import Tail
from tether.store.tables import events

__all__ = ["SQLite"]

_BUSY_S = 5.0
_AGAIN_S = (0.001, 0.006)
_JULIAN_UNIX_EPOCH = "2440587.5"
_MEANINGS = {
    "locked": "is locked by another process for more than {busy:g} s; try again, or find who holds it",
    "full": "cannot grow: the disk is full; free some space",
    "readonly": "is read-only; make it and its folder writable for this user",
    "unable to open": "cannot be opened; check that the folder exists and is readable and writable for this user",
    "malformed": "is damaged; restore it from a backup (`sqlite3 FILE .recover` may help)",
    "not a database": "is not an SQLite database; choose another file",
    "disk i/o": "cannot be read or written (I/O error); check the disk",
}


class SQLite:
    """The embedded store in one file."""

    name = "sqlite"
    creates_itself = True

    def __init__(self, url: URL) -> None:
        self.path = _path(url)
        self.shown = str(self.path)
        _create(self.path)
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        self.engine = _engine(self.path)

    @contextmanager
    def writer(self) -> Generator[Connection]:
        """BEGIN IMMEDIATE, one thread of this process at a time: waiting here is fair, SQLite's own busy loop is not.

        One connection is kept for it: taking one from the pool costs as much as a small transaction.
        """
        if not self._writing.acquire(timeout=_BUSY_S):
            raise StoreUnavailable(f"the store {self.path} {_MEANINGS['locked'].format(busy=_BUSY_S)}")
        try:
            if self._writer is None:
                self._writer = _writing_connection(self.engine)
            with self._writer.begin():
                yield self._writer
        except (DBAPIError, DriverError):
            self._close_writer()  # whatever was wrong with it, the next one is a new one
            raise
        finally:
            self._writing.release()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(DBAPIError):
                writer.invalidate()
            writer.close()

    def close(self) -> None:
        """Close all connections."""
        with self._writing:
            self._close_writer()
        self.engine.dispose()

    @contextmanager
    def reader(self) -> Generator[Connection]:
        """A deferred transaction: one snapshot, never waits for the writer."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    migration = writer

    def now_ms(self) -> ColumnElement[int]:
        """The host's clock; SQLite has no other."""
        return literal_column(f"CAST(ROUND((julianday('now') - {_JULIAN_UNIX_EPOCH}) * 86400000.0) AS INTEGER)", Integer)

    def locked(self, select: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:  # noqa: ARG002
        """BEGIN IMMEDIATE locked everything already."""
        return select

    def alone(self, connection: Connection, name: str) -> None:
        """BEGIN IMMEDIATE let nobody else in already."""

    def end_stalled(self, connection: Connection) -> None:
        """Nothing: a lock goes with its process, and nobody else can end that one's."""

    def together(self, driver: Any) -> AbstractContextManager[object]:  # noqa: ARG002 - there is no way to save
        """Nothing: the database is in this process."""
        return nullcontext()

    def upsert(self, table: Any) -> Any:
        """INSERT … ON CONFLICT."""
        return insert(table)

    def tail(self, connection: Connection, cursor: str | None, limit: int, tenant: str | None) -> Tail:
        """With one writer the row ids are in the order of commits."""
        if cursor is None:
            newest = connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()
            return Tail(events=(), cursor=str(newest))
        (after,) = tail_cursor(cursor, 1)
        rows = connection.execute(tail_select(tenant).where(events.c.id > after).order_by(events.c.id).limit(limit)).all()
        return Tail(events=tuple(event_of(row) for row in rows), cursor=str(rows[-1].id) if rows else cursor or "0")

    def explain(self, error: BaseException) -> StoreUnavailable | None:
        """By SQLite's message, which has been stable for decades."""
        text = str(error).lower()
        if isinstance(error, sqlite3.DatabaseError):
            for key, meaning in _MEANINGS.items():
                if key in text:
                    return StoreUnavailable(f"the store {self.path} {meaning.format(busy=_BUSY_S)}")
        return StoreUnavailable(f"the store {self.path}: {error}") if isinstance(error, sqlite3.OperationalError) else None

    def may_repeat(self, error: BaseException) -> bool:  # noqa: ARG002
        """Never: it waited for the lock already."""
        return False


def _path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "store.url", "names no file", "write sqlite:///path/to/tether.db (an in-memory store cannot be shared)"
        )
    if url.host or url.username or url.query:
        raise ConfigurationError("store.url", f"{url} is not a file", "write sqlite:///relative/path or sqlite:////absolute/path")
    return Path(url.database).expanduser()


def _create(path: Path) -> None:
    """An empty file that only its owner can read, in a folder likewise; an existing one is left as it is."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"the store {path} cannot be opened: {error.strerror}; choose another file or folder") from None


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY_S, "isolation_level": None, "check_same_thread": False},
        paramstyle="named",
        pool_size=4,
        max_overflow=28,
        pool_timeout=_BUSY_S,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "temp_store=MEMORY",
        "journal_size_limit=67108864",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _writing_connection(engine: Engine) -> Connection:
    connection = engine.connect().execution_options(tether_writes=True)
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    driver.execute("PRAGMA busy_timeout = 1")  # the waiting is ours: see _begun
    return connection


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("tether_writes"):
        connection.exec_driver_sql("BEGIN")
        return
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    if not _begun(driver, time.monotonic() + _BUSY_S):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the last try, whose error is the caller's


def _begun(driver: sqlite3.Connection, deadline: float) -> bool:
    """Ask again and again. SQLite's own waiting asks ever more rarely, so that who waited longest would be served last."""
    while time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                return False
            time.sleep(random.uniform(*_AGAIN_S))
        else:
            return True
    return False
