"""What the client does when a server is busy or away: again where that does no harm, as late as it is asked to."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tether import AsyncClient, Client, Task
from tether.client.http import back_off_s
from tether.errors import ServerUnavailable, TetherError


class Busy:
    """A server that answers what it is told, in turn, then 202 with an id; it notes method, path and headers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.got: list[tuple[str, str, dict[str, str]]] = []
        busy = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                busy.got.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, headers = busy.answers.pop(0) if busy.answers else (202, {})
                known = {"code": "server_unavailable", "detail": "busy"} if status >= 400 else {"id": "task_1"}
                body = json.dumps(known).encode()
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def busy() -> Iterator[Busy]:
    """A new one."""
    made = Busy()
    yield made
    made.close()


def with_client(url: str) -> str:
    """Submit one task."""
    with Client(url, "tth_x") as client:
        return client.submit(Task(goal="x")).id


def with_async_client(url: str) -> str:
    """The same, awaited."""

    async def submit() -> str:
        async with AsyncClient(url, "tth_x") as client:
            return await client.submit(Task(goal="x"))

    return asyncio.run(submit())


@pytest.mark.parametrize("submit", [with_client, with_async_client])
def test_a_submission_is_sent_again_with_the_same_key_when_the_server_allows(busy: Busy, submit: Callable[[str], str]) -> None:
    """503 and 429 are waited for as long as they say, and the key makes the repetition harmless."""
    busy.answers[:] = [(503, {"Retry-After": "1"}), (429, {"Retry-After": "1"})]
    began = time.monotonic()
    assert submit(busy.url) == "task_1"
    assert time.monotonic() - began >= 2
    assert len(busy.got) == 3
    assert len({headers["idempotency-key"] for _, _, headers in busy.got}) == 1


def test_what_might_happen_twice_is_not_sent_again(busy: Busy) -> None:
    """A cancellation that was not answered is the caller's to repeat; one that was refused for the rate is sent again."""
    with Client(busy.url, "tth_x") as client:
        busy.answers[:] = [(503, {})]
        with pytest.raises(ServerUnavailable):
            client.cancel("task_1")
        assert len(busy.got) == 1
        busy.answers[:] = [(429, {"Retry-After": "0"}), (409, {})]
        with pytest.raises(TetherError):
            client.cancel("task_1")
        assert len(busy.got) == 3


def test_waits_grow_are_spread_and_never_shorter_than_asked() -> None:
    """Twice as long each time up to some seconds, half to one and a half of it by luck, half a minute at most when asked."""
    assert [back_off_s(tries, None, 0.5) for tries in range(6)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert back_off_s(0, None, 0.0) < back_off_s(0, None, 1.0)
    assert back_off_s(0, ServerUnavailable("busy", 503, 7.0)) == 7.0
    assert back_off_s(0, ServerUnavailable("busy", 503, 9_999.0)) == 30.0
