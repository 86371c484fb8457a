from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url

from servers import free_port, make_database
from staging import submitted
from tether.errors import ConfigurationError, StoreTooNew, StoreUnavailable
from tether.store import Store, access_tables, open_store
from tether.store.schema import REVISIONS
from tether.store.tables import metadata

_ALL_TABLES = (metadata, access_tables)


def _connected(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_the_migrations_make_exactly_the_tables(store: Store, url: str) -> None:
    """A migrated store and the tables the code uses do not differ in tables, columns, keys or indexes."""
    assert store.counts() == {}
    engine = create_engine(_connected(url))
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    only_there = {"ix_events_txid"}  # an index of PostgreSQL alone
    assert [d for d in found if not (d[0] == "remove_index" and d[1].name in only_there)] == []


def test_every_shipped_migration_is_known() -> None:
    """The list of revisions is the chain of files in the package, so that no store is opened with a schema it does not say."""
    folder = Path(sys.modules["tether.store"].__file__ or "").parent / "migrations" / "versions"
    assert sorted(path.name[1:5] for path in folder.glob("v*.py")) == list(REVISIONS)


def test_a_new_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    """An SQLite store is made on first use, folder and files closed to others, and reopened as it is."""
    path = tmp_path / "new" / "tether.db"
    store = open_store(f"sqlite:///{path}")
    task_id = submitted(store)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()
    again = open_store(f"sqlite:///{path}")
    assert again.get(task_id).state == "queued"
    again.close()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "sqlite://host/file", "postgresql+asyncpg://host/db", ""],
)
def test_a_bad_url_names_the_setting(url: str) -> None:
    """A store URL that cannot work is refused with the setting's name and an example."""
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        open_store(url)


def test_an_empty_server_is_only_set_up_on_purpose(postgres_url: str) -> None:
    """A PostgreSQL database is left alone until `tether db upgrade`; then it opens with the plain URL."""
    url = make_database(postgres_url, "tether_empty")
    with pytest.raises(StoreUnavailable, match="tether db upgrade"):
        open_store(url)
    open_store(url, migrate=True).close()
    with closing(open_store(url)) as store:
        assert store.counts() == {}


def test_a_newer_store_is_refused(url: str) -> None:
    """A store that a newer release upgraded is not touched."""
    open_store(url).close()
    engine = create_engine(_connected(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    for migrate in (False, True):
        with pytest.raises(StoreTooNew, match="upgrade Tether"):
            open_store(url, migrate=migrate)


def test_a_server_that_is_not_there_is_said_plainly() -> None:
    """Nobody listening gives StoreUnavailable without the password in it."""
    with pytest.raises(StoreUnavailable, match="check that the server runs") as caught:
        open_store(f"postgresql://tether:hush@127.0.0.1:{free_port()}/x")
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_database_is_said_plainly(tmp_path: Path) -> None:
    """Another kind of file, a folder in place of a file, or a file as the folder: the message says which and what to do."""
    text = tmp_path / "notes.txt"
    text.write_text("Not a database, but long enough to look at. " * 100)
    with pytest.raises(StoreUnavailable, match="not an SQLite database"):
        open_store(f"sqlite:///{text}")
    for path in (tmp_path, text / "tether.db"):
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            open_store(f"sqlite:///{path}")


def test_a_locked_store_is_said_and_works_again_afterwards(sqlite_store_url: str) -> None:
    """While another process holds the store a write fails in bounded time, reads go on, and the next write works."""
    store = open_store(sqlite_store_url)
    task_id = submitted(store)
    with closing(sqlite3.connect(make_url(sqlite_store_url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.cancel(task_id)
        assert store.get(task_id).state == "queued"
    assert store.cancel(task_id).state == "cancelled"
    store.close()


_FILL = """
import resource, sys
from tether.errors import StoreUnavailable
from tether.store import open_store
from tether.task import Budget, Task, Timeouts
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
try:
    while True:
        store.submit(Task(goal=os.urandom(30_000).hex()), budget=Budget(), timeouts=Timeouts())
except StoreUnavailable as error:
    print(error)
    print(store.counts()["queued"])
"""


def test_a_full_store_is_said_and_loses_nothing(sqlite_store_url: str) -> None:
    """When the file cannot grow the write fails with the store's name, and all that was accepted before is there."""
    done = subprocess.run([sys.executable, "-c", _FILL, sqlite_store_url], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said, count = done.stdout.splitlines()
    assert "tether.db" in said
    with closing(open_store(sqlite_store_url)) as store:
        assert store.counts() == {"queued": int(count)}


_AS_NOBODY = """
import os, sys
from tether.errors import StoreUnavailable
from tether.store import open_store
os.setuid(65534)
try:
    open_store(sys.argv[1])
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_store_of_somebody_else_is_said_plainly(sqlite_store_url: str) -> None:
    """Without the right to its folder the message names the store and says what to do."""
    open_store(sqlite_store_url).close()
    done = subprocess.run([sys.executable, "-c", _AS_NOBODY, sqlite_store_url], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert "cannot be opened: Permission denied; choose another file or folder" in done.stdout


def test_a_lost_connection_is_made_anew(postgres_store_url: str, postgres_url: str) -> None:
    """After the server drops every connection the next call works: nothing had been sent, so it is tried again."""
    store = open_store(postgres_store_url)
    task_id = submitted(store)
    database = make_url(postgres_store_url).database
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
    assert store.get(task_id).state == "queued"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
    assert store.cancel(task_id).state == "cancelled"
    store.close()
