"""What differs between the two databases; sqlite.py and postgres.py are the two answers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Engine, Select

from tether.errors import StoreUnavailable
from tether.store.rows import Tail

__all__ = ["Dialect"]


class Dialect(Protocol):
    """One database: how to connect, lock, tell the time, follow the journal, and what its errors mean."""

    name: str
    shown: str
    engine: Engine
    creates_itself: bool

    def writer(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction that will write; commits at the end, rolls back on an error."""
        ...

    def reader(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction that sees one snapshot."""
        ...

    def migration(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction that no other migration can enter meanwhile."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...

    def now_ms(self) -> ColumnElement[int]:
        """The database's clock as an expression, Unix time in milliseconds."""
        ...

    def locked(self, select: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:
        """The select with its rows locked till the end of the transaction; skip: without those that others hold."""
        ...

    def alone(self, connection: Connection, name: str) -> None:
        """Wait until no other transaction is in the part of that name; it ends with the transaction."""
        ...

    def end_stalled(self, connection: Connection) -> None:
        """End the transactions of clients that stand still in the middle of one, so that their rows are free again."""
        ...

    def together(self, driver: Any) -> AbstractContextManager[object]:
        """Statements that need no answer are sent on this connection without waiting for each; faults may come late."""
        ...

    def upsert(self, table: Any) -> Any:
        """An insert that can take on_conflict_do_update and on_conflict_do_nothing."""
        ...

    def tail(self, connection: Connection, cursor: str | None, limit: int, tenant: str | None) -> Tail:
        """Events of all tasks after the cursor, none missed; None starts now, "" at the beginning."""
        ...

    def explain(self, error: BaseException) -> StoreUnavailable | None:
        """What an error of the driver means for the user; None when it is a fault of ours."""
        ...

    def may_repeat(self, error: BaseException) -> bool:
        """Whether the transaction was surely not committed and is worth one more try at once."""
        ...
