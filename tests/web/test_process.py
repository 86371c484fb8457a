"""The API as a process of its own: restarts under load, slow and many connections, one that is killed."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api_server import ApiProcess, until
from servers import make_database
from tether import Client, Task
from tether.client.calls import submit as submission
from tether.client.doorway import doorway
from tether.events import NewEvent
from tether.store import open_store
from tether.store.rows import Append

_FLOOD = 5_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new store on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tether.db"
    made = make_database(request.getfixturevalue("postgres_url"), f"tether_{uuid.uuid4().hex}")
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[ApiProcess]:
    """A running process."""
    made = ApiProcess(tmp_path, url)
    try:
        yield made.start()
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop(kill=True)


def test_no_accepted_task_is_lost_or_doubled_by_restarts(api: ApiProcess, url: str) -> None:
    """Clients that submit while the server is killed and stopped keep all their tasks, each once, without doing anything."""
    accepted: list[tuple[str, str]] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def send(number: int) -> None:
        with Client(api.url, api.key, timeout=60, max_retries=40) as client:
            for n in range(10_000):
                if stop.is_set():
                    return
                try:
                    accepted.append((f"{number}-{n}", client.submit(Task(goal=f"{number}-{n}")).id))
                except BaseException as error:
                    failed.append(error)
                    return

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for kill in (True, False):
        before = len(accepted)
        until(lambda: len(accepted) > before + 20 or failed, "nothing is accepted")  # noqa: B023
        api.stop(kill=kill)
        api.start()
    before = len(accepted)
    until(lambda: len(accepted) > before + 20 or failed, "nothing is accepted after the restarts")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failed
    store = open_store(url)
    stored: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        page = store.tasks(limit=500, cursor=cursor)
        stored.update(task.goal for task in page.data)
        if (cursor := page.next_cursor) is None:
            break
    store.close()
    assert {goal for goal, _ in accepted} <= stored.keys()
    assert max(stored.values()) == 1
    assert len({task_id for _, task_id in accepted}) == len(accepted)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_follower_comes_back_by_itself(api: ApiProcess, url: str) -> None:
    """A client that follows and one that waits live through a restart, and miss no event."""
    client = Client(api.url, api.key, timeout=60)
    handle = client.submit(Task(goal="x"))
    seen: list[int] = []
    done: list[Any] = []
    following = threading.Thread(target=lambda: seen.extend(event.seq for event in handle.events(follow=True)))
    waiting = threading.Thread(target=lambda: done.append(handle.wait(until="final", timeout=90)))
    following.start()
    waiting.start()
    store = open_store(url)
    store.append([Append(task_id=handle.id, events=(NewEvent(type="agent_log", data={"text": "before"}),))])
    api.stop()
    store.append([Append(task_id=handle.id, events=(NewEvent(type="agent_log", data={"text": "meanwhile"}),))])
    api.start()
    store.cancel(handle.id)
    store.close()
    following.join(60)
    waiting.join(60)
    client.close()
    assert (seen, [task.state for task in done]) == ([1, 2, 3, 4], ["cancelled"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ApiProcess]:
    """A process with small bounds."""
    bounds = {"TETHER_API__MAX_CONNECTIONS": "40", "TETHER_API__HEADER_S": "1"}
    made = ApiProcess(tmp_path, f"sqlite:///{tmp_path}/tether.db", **bounds)
    try:
        yield made.start()
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop(kill=True)


def connect(api: ApiProcess) -> socket.socket:
    """A connection that says nothing yet."""
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), 20)


def test_slow_headers_and_many_connections_are_bounded(small: ApiProcess) -> None:
    """Who drips headers is cut off; more connections than allowed are refused at once; others are served meanwhile and after."""
    drips = [connect(small) for _ in range(30)]
    for connection in drips:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ")
    assert httpx2.get(f"{small.url}/healthz", trust_env=False).status_code == 200
    assert b" 408 " in drips[0].recv(100)
    flood = [connect(small) for _ in range(200)]
    refused = 0
    for connection in flood:
        connection.settimeout(0.02)
        try:
            refused += b" 503 " in connection.recv(100)
        except OSError:
            continue
    assert refused >= 100
    for connection in (*drips, *flood):
        connection.close()

    def served() -> bool:
        try:
            return httpx2.get(f"{small.url}/healthz", trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    until(served, "not served after the flood")
    with connect(small) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * 200_000)
        assert b" 431 " in connection.recv(100) or b" 400 " in connection.recv(100)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for thousands of sockets in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FLOOD + 500:
        pytest.skip(f"this user may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _FLOOD + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_five_thousand_slow_connections_are_bounded(many_files: None, tmp_path: Path) -> None:  # noqa: ARG001
    """5,000 that drip headers or a body: memory stays bounded, one who was there is served meanwhile, anybody after."""
    bounds = {"TETHER_API__MAX_CONNECTIONS": "2500", "TETHER_API__HEADER_S": "3", "TETHER_API__BODY_S": "3"}
    api = ApiProcess(tmp_path, f"sqlite:///{tmp_path}/tether.db", **bounds).start()
    half = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    drips = (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ", _request(api.key, half))
    flood: list[socket.socket] = []
    try:
        with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {api.key}"}, trust_env=False) as http:
            before = _memory_mb(api)
            for number in range(_FLOOD):
                flood.append(connect(api))
                with contextlib.suppress(ConnectionError):  # refused before it said anything
                    flood[-1].sendall(drips[number % 2])
                if number % 500 == 0:
                    assert http.get("/v1/tasks").status_code == 200
            assert http.get("/v1/tasks").status_code == 200
            assert _memory_mb(api) - before < 150
            until(lambda: _connections(api) < 50, "slow connections are kept")
            assert http.get("/v1/tasks").status_code == 200
        said = Counter(_said(connection) for connection in flood)
        assert said[408] + said[503] == _FLOOD, said
    finally:
        for connection in flood:
            connection.close()
        api.stop(kill=True)


def _request(key: str, rest: str) -> bytes:
    return f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{rest}".encode()


def _memory_mb(api: ApiProcess) -> float:
    assert api.process is not None
    return int(Path(f"/proc/{api.process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def _connections(api: ApiProcess) -> int:
    """Sockets the process has open, its own few included."""
    assert api.process is not None
    count = 0
    for file in Path(f"/proc/{api.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += file.readlink().name.startswith("socket:")
    return count


def _said(connection: socket.socket) -> int:
    """The status that a connection was closed with; 503 where it was reset because it went on talking after that."""
    connection.settimeout(20)
    try:
        return int(connection.recv(100).split(b" ")[1])
    except ConnectionError:
        return 503


def test_it_stops_when_told_and_says_where_it_was(small: ApiProcess, tmp_path: Path) -> None:
    """SIGTERM ends it with 0 although readers follow; the client finds a running server, and not one that is gone."""
    found = doorway(tmp_path / "data")
    assert found is not None
    assert (found.url, found.key) == (small.url, small.key)
    headers = {"Authorization": f"Bearer {small.key}", "Accept": "text/event-stream"}
    with httpx2.Client(base_url=small.url, headers=headers, trust_env=False) as http:
        task_id = http.post("/v1/tasks", json=dict(submission(Task(goal="x"), "").body)).json()["id"]
        with http.stream("GET", f"/v1/tasks/{task_id}/events") as stream:
            next(stream.iter_lines())
            began = time.monotonic()
            assert small.stop() == 0
            assert time.monotonic() - began < 25
    assert doorway(tmp_path / "data") is None


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """The API of `tether up` does not outlive it, however it ended."""
    made = ApiProcess(tmp_path, f"sqlite:///{tmp_path}/tether.db")
    command = "[sys.executable, '-m', 'tether', 'api', '--parent', str(os.getpid())]"
    code = f"import subprocess, sys, os, time; subprocess.Popen({command}); time.sleep(600)"
    with (tmp_path / "api.log").open("ab") as log:
        parent = subprocess.Popen([sys.executable, "-c", code], env=made._variables, stdout=log, stderr=log, cwd=tmp_path)
    try:
        until(lambda: doorway(tmp_path / "data") is not None, "the API did not start", parent)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        until(lambda: doorway(tmp_path / "data") is None, "the API outlives its parent")
    finally:
        if parent.poll() is None:
            parent.kill()
            parent.wait(10)
