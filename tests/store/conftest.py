"""One store per test, on SQLite and on a real PostgreSQL; every conformance test runs on both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from servers import make_database
from tether.store import Store, open_store


@pytest.fixture(scope="session")
def template(postgres_url: str) -> str:
    """Name of a database with the newest schema, from which each test's own is copied in milliseconds."""
    name = f"tether_template_{uuid.uuid4().hex[:8]}"
    open_store(make_database(postgres_url, name), migrate=True).close()
    return name


def _execute(url: str, statement: sql.Composed) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(statement)


@pytest.fixture
def postgres_store_url(postgres_url: str, template: str) -> Iterator[str]:
    name = f"tether_{uuid.uuid4().hex}"
    made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _execute(postgres_url, made)
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    _execute(postgres_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def sqlite_store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store/tether.db"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store of either kind."""
    return request.getfixturevalue(f"{request.param}_store_url")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()
