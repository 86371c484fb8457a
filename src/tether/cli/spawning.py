"""A worker in the background for `run`: started when none serves the agent, gone after a minute without work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tether.errors import WorkerError

if TYPE_CHECKING:
    from tether.client import Client
    from tether.store.rows import WorkerRow

__all__ = ["BackgroundWorker", "serving"]

IDLE_EXIT_S = 60
_START_S = 60.0
_LOOK_S = 0.1
_TAIL_BYTES = 2000


def serving(client: Client, agent: str) -> list[WorkerRow]:
    """Live workers that serve the agent."""
    return [row for row in client.workers() if row.state == "live" and agent in row.agents]


class BackgroundWorker:
    """Starts workers that outlive this process; `variables` give them store, configuration and model."""

    def __init__(self, client: Client, agent: str, folder: Path) -> None:
        self.variables: dict[str, str] = {}
        self._client = client
        self._agent = agent
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "worker.log"

    def needed(self) -> bool:
        """Whether nobody serves the agent and none of ours is about to."""
        starting = self._process is not None and self._process.poll() is None
        return not starting and not serving(self._client, self._agent)

    def care(self) -> None:
        """Start another one when the one that served is gone, idle or dead."""
        if self.variables and self.needed():
            self.start()

    def start(self) -> None:
        """Start one, detached from this terminal, its output in the log."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = self._folder / f"worker-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        command = [sys.executable, "-m", "tether", "worker", "--idle-exit", str(IDLE_EXIT_S)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.variables},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it serves the agent; raises WorkerError with the end of its log when it does not get there."""
        deadline = time.monotonic() + _START_S
        while not serving(self._client, self._agent):
            if self._process is not None and self._process.poll() is not None:
                raise WorkerError(f"the worker ended with code {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise WorkerError(f"no worker serves {self._agent!r} after {_START_S:g} s; see {self._log}")
            time.sleep(_LOOK_S)

    def _last_words(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log.stat().st_size - _TAIL_BYTES, 0))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1].removeprefix('error: ')} (log: {self._log})" if lines else f"see {self._log}"
