"""A place where real workers work: a folder with configuration and store, worker processes, a client, questions to /proc."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tether.client import Client, TaskHandle
from tether.config import Settings, load
from tether.store import open_store
from tether.task import Task, TaskDocument

_START_S = 60.0
_KINDS = ("busy sleep pbkdf2 regex ignore_signals daemon daemon_busy fork_bomb balloon blocked_pipe stopped").split()
_TOML = """\
data_dir = "data"
[store]
url = "{store}"
[worker]
slots = {slots}
lease_s = {lease_s}
heartbeat_s = {heartbeat_s}
poll_s = 0.05
retry_backoff_s = 0.05
isolation = "{isolation}"
memory_mb = 256
drain_s = 5
agents = {served}
{more}
"""
_AGENT = """\
[agents.{name}]
entry = "{entry}"
code_dir = "{code}"
"""


def until(condition: Callable[[], Any], timeout_s: float = 30.0, what: str = "it") -> Any:
    """Wait until `condition()` is true and return it; fails after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(0.02)


class Site:
    """One store, one configuration, any number of worker processes."""

    def __init__(
        self,
        folder: Path,
        store: str | None = None,
        *,
        isolation: str = "auto",
        slots: int = 20,
        lease_s: float = 3.0,
        more: str = "",
        agents: dict[str, str] | None = None,
        builtin: bool = False,
    ) -> None:
        """`builtin`: serve the built-in agent too; it costs each worker a second of CPU."""
        folder.chmod(0o755)
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        code = Path(__file__).parent / "agents"
        entries = {kind: f"tether.testing.misbehave:{kind}" for kind in _KINDS} if agents is None else agents
        toml = _TOML.format(
            store=store or f"sqlite:///{folder}/tether.db",
            slots=slots,
            lease_s=lease_s,
            heartbeat_s=lease_s / 4,
            isolation=isolation,
            served=json.dumps([*entries, *re.findall(r"^\[agents\.(\w+)\]", more, re.MULTILINE), *["autogpt"] * builtin]),
            more=more,
        )
        toml += "".join(_AGENT.format(name=name, entry=entry, code=code) for name, entry in entries.items())
        self.file = folder / "tether.toml"
        self.file.write_text(toml)
        self.settings: Settings = load(self.file)
        open_store(self.settings.store_url, migrate=True).close()
        self.client = Client.of(self.settings)

    def add_worker(self, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker process, by the command `prefix` if any, and wait until it is registered."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        before = {row.id for row in self.client.workers()}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tether", "--config", str(self.file), "worker"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.workers.append(process)
        until(lambda: {row.id for row in self.client.workers()} - before or process.poll() is not None, _START_S, "a worker")
        assert process.poll() is None, log.read_text()
        return process

    def submit(self, agent: str, goal: str = "misbehave", **fields: Any) -> TaskHandle:
        """Submit a task."""
        return self.client.submit(Task(goal=goal, agent=agent, **fields))

    def settled(self, handle: TaskHandle, timeout_s: float = 60.0) -> TaskDocument:
        """The task once it is settled."""
        return handle.wait(timeout=timeout_s)

    def events(self, handle: TaskHandle, kind: str) -> list[dict[str, Any]]:
        """The data of all events of one kind."""
        return [dict(event.data) for event in handle.events() if event.type == kind]

    def log(self) -> str:
        """What the workers said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def children(self, pid: int, module: str = "") -> list[int]:
        """Direct children of a process whose command line names `module`."""
        found: list[int] = []
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return [child for child in found if module in command_of(child)]

    def gateway(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """The gateway process of a worker."""
        return self.children(worker.pid, "tether.gateway")

    def zygotes(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """The zygotes of a worker."""
        return self.children(worker.pid, "tether.agent.boot")

    def inits(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """The inits of a worker's attempts."""
        return [init for zygote in self.zygotes(worker) for init in self.children(zygote)]

    def survivors(self) -> list[str]:
        """Processes of attempts that are still there: those that work in our workspaces."""
        found: list[str] = []
        mine = {process.pid for process in self.workers} | {os.getpid()}
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            with contextlib.suppress(OSError):
                at = os.readlink(path / "cwd")
                if pid not in mine and at.startswith(str(self.settings.workspaces)) and _state(pid) not in "ZX":
                    found.append(f"{pid}: {command_of(pid)}")
        return found

    def close(self) -> None:
        """End all workers."""
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.workers:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self.client.close()


def command_of(pid: int) -> str:
    """The command line of a process, or nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def site(folder: Path, store: str | None = None, **options: Any) -> Generator[Site]:
    """A site that is gone afterwards."""
    made = Site(folder, store, **options)
    try:
        yield made
    finally:
        made.close()
