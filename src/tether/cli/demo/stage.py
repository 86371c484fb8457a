"""What the demo plays on: a folder with configuration, store and agents; the scripted model and workers as processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import TracebackType

from tether.cli.demo.narrator import StoryFailed
from tether.client import Client
from tether.config import Settings, load

__all__ = ["Stage"]

_START_S = 40.0
_END_S = 8.0
_TOML = """\
data_dir = "."

[worker]
slots = 4
lease_s = 3
heartbeat_s = 1
poll_s = 0.1
retry_backoff_s = 0.3

[models.default]
upstream = "{upstream}"
model = "scripted"

[prices.scripted]          # a price for the scripted model, so that there is something to count
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10
context_window = 128000
max_output = 1000

[agents.hasher]
entry = "demo_agents:hasher"
code_dir = "agents"

[agents.archivist]
entry = "demo_agents:archivist"
code_dir = "agents"

[agents.walker]
entry = "demo_agents:walker"
code_dir = "agents"
"""


class Stage:
    """Set up on entering; on leaving all processes are gone, and the folder stays for a look."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tether-demo-"))
        self.workers: list[subprocess.Popen[bytes]] = []
        self._models: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self.settings: Settings

    @property
    def client(self) -> Client:
        """A client on the demo's store."""
        if self._client is None:
            self._client = Client.of(self.settings)
        return self._client

    def __enter__(self) -> Stage:
        try:
            self._set_up()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def _set_up(self) -> None:
        # variables of the user's own Tether must not reach into the demo
        for name in [name for name in os.environ if name.startswith("TETHER_") and name != "TETHER_DEBUG"]:
            del os.environ[name]
        self.folder.chmod(0o755)
        agents = self.folder / "agents"
        agents.mkdir()
        with resources.as_file(resources.files("tether.cli.demo").joinpath("files")) as files:
            shutil.copy(files / "demo_agents.py", agents)
            shutil.copy(files / "script.json", self.folder)
        config = self.folder / "tether.toml"
        config.write_text(_TOML.format(upstream=self._start_models()), encoding="utf-8")
        self.settings = load(config)
        self.add_worker()

    def _start_models(self) -> str:
        command = [sys.executable, "-m", "tether.testing.scripted", "--script", str(self.folder / "script.json")]
        command += ["--ledger", str(self.folder / "ledger.jsonl")]
        with (self.folder / "models.log").open("wb") as log:
            self._models = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert self._models.stdout is not None
        url = self._models.stdout.readline().decode().strip()
        if not url:
            raise StoryFailed(f"the scripted model did not start; see {self.folder / 'models.log'}")
        return f"{url}/v1"

    def add_worker(self, *agents: str) -> subprocess.Popen[bytes]:
        """Start a worker for these agents (none: all) and wait until it serves."""
        before = len(self.client.workers())
        log = self.folder / f"worker-{len(self.workers) + 1}.log"
        command = [sys.executable, "-m", "tether", "--config", str(self.folder / "tether.toml"), "worker"]
        environment = {**os.environ, "TETHER_WORKER__AGENTS": json.dumps(agents)}
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
            )
        self.workers.append(process)
        self.wait_for(lambda: len(self.client.workers()) > before or process.poll() is not None, _START_S, f"a worker ({log})")
        if process.poll() is not None:
            raise StoryFailed(f"the worker ended at once; see {log}")
        return process

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for something; raises StoryFailed after timeout_s seconds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise StoryFailed(f"waited {timeout_s:g} s for {what} in vain")
            time.sleep(0.05)

    def _clear(self) -> None:
        if self._client is not None:
            self._client.close()
        for process in (*self.workers, self._models):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (*self.workers, self._models):
            if process is not None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_S)
    if process.stdout is not None:
        process.stdout.close()
