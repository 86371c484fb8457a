"""The API for tests: in this process on a real socket, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tether.config import Settings, load
from tether.store import open_store
from tether.web import doorkey
from tether.web.app import create_app
from tether.web.server import configured

_START_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server is, and a key with every scope."""

    url: str
    key: str
    app: Any = None


def settings_for(store_url: str, **sections: Mapping[str, Any]) -> Settings:
    """The configuration in force on another store, with some keys of some sections changed."""
    found = load()
    changed = {name: getattr(found, name).model_copy(update=dict(values)) for name, values in sections.items()}
    return found.model_copy(update={"store": found.store.model_copy(update={"url": store_url}), **changed})


@contextlib.contextmanager
def serving(store_url: str, data_dir: Path | None = None, **sections: Mapping[str, Any]) -> Iterator[Server]:
    """A server in a thread of this process, with real sockets; ended on leaving."""
    settings = settings_for(store_url, **sections)
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": str(data_dir)})
    with serving_by(settings) as server:
        yield server


@contextlib.contextmanager
def serving_by(settings: Settings) -> Iterator[Server]:
    """The same by a whole configuration."""
    store = open_store(settings.store_url)
    key = doorkey.ensure(settings, store)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(settings, store, url)
        server = uvicorn.Server(configured(app, settings))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            until(lambda: server.started, "the server did not start")
            yield Server(url=url, key=key, app=app)
        finally:
            app.state.service.closing.set()
            server.should_exit = True
            thread.join(_START_S)
            store.close()
    assert not thread.is_alive()


class ApiProcess:
    """`tether api` as a process on `port` (0: any), with its folder as data folder; `.url` and `.key` once it runs."""

    def __init__(self, folder: Path, store_url: str, port: int = 0, **variables: str) -> None:
        self.folder = folder
        self._variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TETHER_TEST_SESSION": os.environ.get("TETHER_TEST_SESSION", ""),
            "TETHER_DATA_DIR": str(folder / "data"),
            "TETHER_STORE__URL": store_url,
            "TETHER_API__PORT": str(port),
            **variables,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.key = ""

    def start(self) -> ApiProcess:
        """Start it and wait until it is ready."""
        file = self.folder / "data" / "api.json"
        before = file.read_text() if file.exists() else ""
        with (self.folder / "api.log").open("ab") as log:
            command = [sys.executable, "-m", "tether", "api"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self._variables, stdout=log, stderr=log)
        until(lambda: file.exists() and file.read_text() != before, self._log, self.process)
        found = json.loads(file.read_text())
        self.url, self.key = found["url"], found["key"]
        self._variables["TETHER_API__PORT"] = self.url.rpartition(":")[2]
        until(self._answers, self._log, self.process)
        return self

    def stop(self, *, kill: bool = False) -> int:
        """End it with SIGTERM or SIGKILL; its exit code."""
        assert self.process is not None
        self.process.kill() if kill else self.process.terminate()
        return self.process.wait(30)

    def _answers(self) -> bool:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        try:
            with socket.create_connection((host, int(port)), 5) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                return b" 200 " in connection.recv(100)
        except OSError:
            return False

    def _log(self) -> str:
        return (self.folder / "api.log").read_text(errors="replace")


def until(true: Any, why: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for a condition; fail with `why` after a minute, or when the process ended."""
    deadline = time.monotonic() + _START_S
    while not true():
        assert time.monotonic() < deadline, why() if callable(why) else why
        assert process is None or process.poll() is None, why() if callable(why) else why
        time.sleep(0.02)
