"""Which schema a store has, and bringing it to the one this release knows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tether.errors import StoreTooNew, StoreUnavailable
from tether.store.dialect import Dialect

__all__ = ["REVISIONS", "current_revision", "ensure", "upgrade"]

#: All schema versions this release knows, oldest first; held equal to migrations/versions by a test.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")


def current_revision(connection: Connection) -> str | None:
    """The schema version of the store, None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def ensure(dialect: Dialect, *, migrate: bool) -> None:
    """Check the schema, and upgrade it when asked (or when the store makes itself and is empty).

    Raises StoreTooNew for an unknown version, StoreUnavailable for an old one without `migrate`.
    """
    with dialect.reader() as connection:
        found = current_revision(connection)
    if found == REVISIONS[-1]:
        return
    _refuse_newer(found, dialect.shown)
    if not (migrate or (found is None and dialect.creates_itself)):
        state = "is empty" if found is None else f"has schema {found}, this release needs {REVISIONS[-1]}"
        raise StoreUnavailable(f"the store {dialect.shown} {state}; run `tether db upgrade`")
    upgrade(dialect)


def upgrade(dialect: Dialect) -> None:
    """Bring the schema to the newest version, in one transaction, while no one else does. Raises StoreTooNew."""
    with dialect.migration() as connection:
        found = current_revision(connection)
        _refuse_newer(found, dialect.shown)
        if found != REVISIONS[-1]:
            _run_alembic(connection)


def _refuse_newer(found: str | None, shown: str) -> None:
    if found is not None and found not in REVISIONS:
        raise StoreTooNew(
            f"the store {shown} has schema {found}, which this release does not know (newest: {REVISIONS[-1]}); upgrade Tether"
        )


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, REVISIONS[-1])  # not "head": what this release does not declare, it could not open afterwards
