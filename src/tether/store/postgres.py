"""PostgreSQL 13 or newer, through psycopg 3."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, create_engine, func, literal_column, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL

from tether.errors import ConfigurationError, StoreUnavailable
from tether.store.eventrows import event_of, tail_cursor, tail_select
from tether.store.rows import Tail
from tether.store.tables import events

__all__ = ["Postgres"]

_MIGRATION_LOCK = 0x7E7E7E
_OPTIONS = {
    "connect_timeout": 5,
    "application_name": "tether",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A worker whose machine stands still in the middle of a transaction must not keep its rows from the one that takes over.
    "options": "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=5s -c synchronous_commit=on",
}
#: The server's own limit does not count while the last it heard was the Flush with which psycopg ends a pipeline and an
#: executemany (measured with PostgreSQL 15 and psycopg 3.3), so whoever needs the rows looks too. Migrations have another name.
_END_STALLED = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name') AND state LIKE 'idle in transaction%'"
    " AND state_change < clock_timestamp() - interval '5 seconds'"
)
#: Errors after which the transaction is surely gone: serialization failure, deadlock.
_ROLLED_BACK = ("40001", "40P01")
#: read-only, missing right, table or column: not operational errors to the driver, but for the operator.
_OURS_TO_TELL = ("25006", "42501", "42P01", "42703", "55P03", "57014")


class Postgres:
    """The store of a fleet."""

    name = "postgresql"
    creates_itself = False

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self.shown = url.set(drivername="postgresql").render_as_string(hide_password=True)
        given = {key: value for key, value in _OPTIONS.items() if key not in url.query}
        try:
            self.engine = create_engine(
                self.url, connect_args=given, pool_size=4, max_overflow=28, pool_timeout=5, pool_recycle=1800
            )
        except ModuleNotFoundError:
            raise ConfigurationError(
                "store.url", "needs the PostgreSQL driver, which is not installed", "pip install 'tether[postgres]'"
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def writer(self) -> Generator[Connection]:
        """READ COMMITTED: rows are locked before they are read."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def reader(self) -> Generator[Connection]:
        """REPEATABLE READ, so that several selects see one snapshot."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def migration(self) -> Generator[Connection]:
        """One migration at a time, without the limits of ordinary statements."""
        with self.writer() as connection:
            for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {limit} = 0"))
            connection.execute(text("SET LOCAL application_name = 'tether migration'"))
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            yield connection

    def now_ms(self) -> ColumnElement[int]:
        """The server's clock, not the start of the transaction."""
        return literal_column("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", BigInteger)

    def locked(self, select: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:
        """FOR UPDATE, or FOR UPDATE SKIP LOCKED."""
        return select.with_for_update(skip_locked=skip)

    def alone(self, connection: Connection, name: str) -> None:
        """An advisory lock until the end of the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"tether:{name}", 0))))

    def end_stalled(self, connection: Connection) -> None:
        """End sessions of ours that have been idle in a transaction for five seconds."""
        connection.execute(_END_STALLED)

    def together(self, driver: Any) -> AbstractContextManager[object]:
        """A pipeline, one round trip for all; needs libpq 14."""
        import psycopg

        return driver.pipeline() if psycopg.Pipeline.is_supported() else nullcontext()

    def upsert(self, table: Any) -> Any:
        """INSERT … ON CONFLICT."""
        return insert(table)

    def tail(self, connection: Connection, cursor: str | None, limit: int, tenant: str | None) -> Tail:
        """In order of transaction ids, and only below the oldest one still open: what commits later sorts later.

        Source: PostgreSQL manual, "Transaction ID and snapshot information functions" (pg_snapshot_xmin).
        """
        if cursor is None:
            horizon = connection.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")).scalar_one()
            return Tail(events=(), cursor=f"{horizon}-0")
        after = tail_cursor(cursor, 2)
        query = (
            tail_select(tenant)
            .where(tuple_(events.c.txid, events.c.id) > tuple_(*after))
            .where(events.c.txid < text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))
            .order_by(events.c.txid, events.c.id)
            .limit(limit)
        )
        rows = connection.execute(query).all()
        last = f"{rows[-1].txid}-{rows[-1].id}" if rows else cursor or "0-0"
        return Tail(events=tuple(event_of(row) for row in rows), cursor=last)

    def explain(self, error: BaseException) -> StoreUnavailable | None:
        """By the class of the error: connection, resources, shutdown, limits of ours, rights."""
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        state = error.sqlstate or ""
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, psycopg.OperationalError) or state in _OURS_TO_TELL:
            return StoreUnavailable(f"the store {self.shown}: {first}; {_remedy(state)}")
        return None

    def may_repeat(self, error: BaseException) -> bool:
        """After a deadlock or serialization failure."""
        return getattr(error, "sqlstate", None) in _ROLLED_BACK


def _remedy(state: str) -> str:
    if state[:2] in ("28", "3D"):
        return "check user, password and database name in the store URL"
    if state[:2] == "53":
        return "the server is out of disk, memory or connections"
    if state[:2] == "42":
        return "run `tether db upgrade`, and check the rights of the database user"
    return "check that the server runs and is reachable, then try again"
