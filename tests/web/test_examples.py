"""The examples run as they are, against a real server, and stay short."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
import uvicorn

from api_server import until
from played import PlayedWorker
from tether.task import ApprovalKind

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@pytest.fixture(autouse=True)
def place(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's address and key, as an operator would set them."""
    monkeypatch.setenv("TETHER_API_URL", api.server.url)
    monkeypatch.setenv("TETHER_API_KEY", api.server.key)


def example(name: str) -> ModuleType:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """An ASGI application on a real socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            until(lambda: server.started, "the example did not start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*_*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    """At most 40 lines of code."""
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 40


def test_fastapi(worker: PlayedWorker) -> None:
    """Enqueue, follow live, read the result."""
    with running(example("fastapi_app").app) as url, httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
        made = http.post("/reports", params={"topic": "tides", "user": "ann"})
        task_id = made.json()["id"]
        with http.stream("GET", f"/reports/{task_id}/live") as stream:
            lines = stream.iter_lines()
            assert "task_submitted" in next(lines)
            worker.succeed(worker.claim(), "high and low")
            assert "task_succeeded" in "".join(lines)
        shown = http.get(f"/reports/{task_id}").json()
    assert (made.status_code, shown["state"], shown["result"]) == (202, "succeeded", "high and low")


def test_flask(worker: PlayedWorker) -> None:
    """Enqueue, see the question, answer it."""
    module = example("flask_app")
    http = module.app.test_client()
    place = http.post("/reports", data={"topic": "tides"}).headers["location"]
    worker.pause(worker.claim(), ApprovalKind.QUESTION, "which sea?")
    page = http.get(place).text
    assert "paused" in page
    assert "which sea?" in page
    assert http.post(place, data={"text": "the North Sea"}).headers["location"] == place
    assert "queued" in http.get(place).text
    module.tether.close()


def test_django() -> None:
    """Enqueue, show, cancel."""
    import django
    from django.conf import settings
    from django.test import Client

    settings.configure(ROOT_URLCONF="example_django", ALLOWED_HOSTS=["*"], SECRET_KEY="test", DEBUG=False)
    django.setup()
    module = example("django_views")
    settings.ROOT_URLCONF = module
    http = Client()
    made = http.post("/reports", {"topic": "tides"})
    task_id = made.json()["id"]
    assert (made.status_code, http.get(f"/reports/{task_id}").json()["state"]) == (202, "queued")
    assert http.post(f"/reports/{task_id}/cancel").json() == {"state": "cancelled"}
    assert http.get(f"/reports/{task_id}/cancel").status_code == 405
    module.tether().close()
