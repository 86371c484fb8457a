"""The servers that other tests rely on are real and come back after a kill."""

from __future__ import annotations

import psycopg

from servers import Postgres


def test_postgres_survives_kill_and_restart(postgres_of_my_own: Postgres) -> None:
    """What was committed is there after kill -9 and after a restart, on the same URL."""
    postgres = postgres_of_my_own
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (42)")
    postgres.kill()
    postgres.start()
    postgres.restart()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (42,)


def test_each_database_is_empty(postgres_database: str) -> None:
    """A test gets a database of its own with nothing in it."""
    with psycopg.connect(postgres_database) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert found == (0,)
