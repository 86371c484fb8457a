"""Fixtures for all tests, and the check at the end that nothing the tests started is still alive."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from brokers import BROKERS, Broker
from servers import Postgres, ServerMissing, make_database, postgres

# how long an example takes depends on the machine's other work; what is slow shows in benchmarks/
settings.register_profile("tether", deadline=None)
settings.load_profile("tether")

_MARKER = "TETHER_TEST_SESSION"
_GRACE_S = 3.0


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a PostgreSQL server for the session, on which databases may be made; do not break it, others use it too."""
    try:
        with postgres() as url:
            yield url
    except ServerMissing as missing:
        _missing(str(missing))


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """URL of a new, empty PostgreSQL database for one test."""
    return make_database(postgres_url, f"tether_{uuid.uuid4().hex}")


@pytest.fixture
def postgres_of_my_own() -> Iterator[Postgres]:
    """A PostgreSQL server for one test, which may `.kill()`, `.start()` and `.restart()` it."""
    try:
        server = Postgres()
    except ServerMissing as missing:
        _missing(str(missing))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def broker_of() -> Iterator[Callable[[str], Broker]]:
    """Starts the broker of that name (redis, rabbitmq, sqs, sqs-fifo) once for the session; leave it started and thawed."""
    started: dict[str, Broker] = {}

    def get(name: str) -> Broker:
        if name not in started:
            try:
                broker = BROKERS[name]()
            except ServerMissing as missing:
                _missing(str(missing))
            started[name] = broker
            broker.start()
        return started[name]

    yield get
    for broker in started.values():
        broker.close()


def _missing(message: str) -> NoReturn:
    # locally a missing server skips its tests; where a green result is relied on it must not
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def pytest_configure(config: pytest.Config) -> None:
    """Mark this session in the environment that every process of it inherits, those of pytest-xdist among them."""
    if not hasattr(config, "workerinput"):
        os.environ[_MARKER] = uuid.uuid4().hex


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when a process of this session outlives it."""
    if hasattr(session.config, "workerinput"):
        return  # of pytest-xdist: the process that started this one looks, when all have ended
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = None if factory is None else str(factory.getbasetemp())
    deadline = time.monotonic() + _GRACE_S
    while (left := _survivors(base)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        print("\nprocesses that outlived the tests:", *left, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _survivors(base: str | None) -> list[str]:
    """Live processes that carry our marker, or work in a temporary folder of ours (attempts get a scrubbed environment)."""
    marker = f"{_MARKER}={os.environ[_MARKER]}".encode()
    left: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            line = (folder / "cmdline").read_bytes()
            there = os.readlink(folder / "cwd")
            marked = marker in (folder / "environ").read_bytes()
        except OSError:
            continue
        if marked or (base is not None and (there.startswith(base) or base.encode() in line)):
            left.append(f"{folder.name}: {line.replace(bytes(1), b' ').decode(errors='replace').strip()}")
    return left
