"""A stage for real attempts: one zygote, and attempts whose every channel the test holds, as a supervisor would."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tether import packets
from tether.worker import killing, processes
from tether.worker.zygote import Exited, Message, Ready, Started, Zygote, ZygoteSpec, spawn_zygote

T = TypeVar("T")
PATIENCE_S = 20.0
FIRST_UID = 700_000


def until(condition: Callable[[], T], what: str | Callable[[], str], patience_s: float = PATIENCE_S) -> T:
    """The first true value of `condition`, looked at every few milliseconds; fails after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, (
            f"after {patience_s:g} s still waiting for {what if isinstance(what, str) else what()}"
        )
        select.select([], [], [], 0.003)
    return value


class Pipe:
    """The reading end of a pipe, and everything it said."""

    def __init__(self) -> None:
        self.fd, self.theirs = os.pipe()
        os.set_blocking(self.fd, False)
        self._said = b""

    def text(self) -> str:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.fd, 65536):
                self._said += chunk
        return self._said.decode("utf-8", "replace")

    def close(self) -> None:
        os.close(self.fd)


class Attempt:
    """One attempt as its supervisor sees it."""

    def __init__(self, key: str, workspace: Path) -> None:
        self.key = key
        self.workspace = workspace
        self.link, self._link = packets.pair()
        self.ctl, self._ctl = packets.pair()
        self.stdout, self.stderr, self.stacks, self.tasks = (Pipe() for _ in range(4))
        self.said: list[dict[str, Any]] = []
        self.listeners: list[socket.socket] = []
        self.asked: list[dict[str, Any]] = []
        self.ctl_closed = False
        self.pid = 0
        self.pidfd = -1
        self.status: int | None = None
        self.calls: list[ToolCall] = []
        for sock in (self.link, self.ctl):
            sock.setblocking(False)

    def fds(self) -> list[int]:
        pipes = (self.stdout, self.stderr, self.stacks, self.tasks)
        return [self._link.fileno(), self._ctl.fileno(), *(pipe.theirs for pipe in pipes)]

    def handed_over(self) -> None:
        self._link.close()
        self._ctl.close()
        for pipe in (self.stdout, self.stderr, self.stacks, self.tasks):
            os.close(pipe.theirs)

    def read(self) -> None:
        """Take what init said, and answer what the agent asked."""
        self._read_ctl()
        self._read_link()

    def heard(self, op: str, **fields: Any) -> dict[str, Any] | None:
        """The first packet of init with this op and these fields, if it came."""
        self.read()
        return next((said for said in self.said if said["op"] == op and fields.items() <= said.items()), None)

    def hears(self, op: str, **fields: Any) -> dict[str, Any]:
        """Wait for a packet of init."""
        return until(
            lambda: self.heard(op, **fields), lambda: f"{op} {fields} from init; it said {self.said} {self.stderr.text()}"
        )

    def prints(self, text: str) -> str:
        """Wait until the agent printed this."""
        until(lambda: text in self.shows(), lambda: f"{text!r} on stdout; there is {self.stdout.text()!r} {self.stderr.text()!r}")
        return self.stdout.text()

    def shows(self) -> str:
        self.read()
        return self.stdout.text()

    def tool(self, entry: str, options: Mapping[str, Any] | None = None, **args: Any) -> ToolCall:
        """Have init start a tool."""
        call = ToolCall(self, f"t{len(self.calls) + 1}")
        self.calls.append(call)
        request = {"op": "tool", "tool_id": call.tool_id, "name": "any", "entry": entry, "args": args, "options": options or {}}
        packets.send(self.ctl, request, [call.theirs.fileno()])
        call.theirs.close()
        return call

    def tree(self) -> list[int]:
        return [process.pid for process in processes.tree(self.pid)]

    def kill(self) -> None:
        killing.kill_tree(self.pidfd, self.pid)

    def is_gone(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def close(self) -> None:
        for thing in (self.link, self.ctl, self.stdout, self.stderr, self.stacks, self.tasks, *self.listeners):
            thing.close()
        for call in self.calls:
            call.ours.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)

    def _read_ctl(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self.ctl_closed:
                received = packets.receive(self.ctl)
                if received is None:
                    self.ctl_closed = True
                    return
                self.said.append(received[0])
                self.listeners += [socket.socket(fileno=fd) for fd in received[1]]

    def _read_link(self) -> None:
        with contextlib.suppress(BlockingIOError, packets.LinkClosed, OSError):
            while received := packets.receive(self.link):
                packet = received[0]
                self.asked.append(packet)
                if packet.get("id"):
                    task = {"id": "task_1", "goal": "be tested", "input": None}
                    packets.send(self.link, {"id": packet["id"], "ok": True, "task": task, "attempt": 1, "step": 1, "number": 1})


class ToolCall:
    """A tool that was asked for; `answer` is what it said."""

    def __init__(self, attempt: Attempt, tool_id: str) -> None:
        self._attempt = attempt
        self.tool_id = tool_id
        self.ours, self.theirs = packets.pair()
        self.ours.setblocking(False)

    def answer(self) -> dict[str, Any]:
        """Wait for its one packet."""
        return until(self._received, lambda: f"the answer of {self.tool_id}; stderr: {self._attempt.stderr.text()}")

    def kill(self) -> None:
        packets.send(self._attempt.ctl, {"op": "kill_tool", "tool_id": self.tool_id})

    def _received(self) -> dict[str, Any] | None:
        with contextlib.suppress(BlockingIOError):
            received = packets.receive(self.ours)
            return received[0] if received else {"ok": False, "error": "hung up"}
        return None


class Stage:
    """A zygote and the attempts it started."""

    def __init__(self, isolation: str, **spec: Any) -> None:
        self.mark = f"stage-{uuid.uuid4().hex}"
        self._folder = Path(tempfile.mkdtemp(prefix="tether-stage-"))
        self._folder.chmod(0o755)
        env = {"STAGE": self.mark, **spec.pop("env", {})}
        self._kind = spec.get("kind", "python")
        self._entry = spec.get("entry")
        self.isolation = isolation
        uid = FIRST_UID if os.geteuid() == 0 else None
        self.zygote: Zygote = spawn_zygote(
            ZygoteSpec(**{"name": "tested", "kind": "python", "isolation": isolation, "uid": uid, "env": env, **spec})
        )
        self.attempts: dict[str, Attempt] = {}
        self.messages: list[Message] = []
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """What the zygote said it can do, waited for."""
        if self._ready is None:
            self._ready = self.message(Ready)
        return self._ready

    @property
    def inside(self) -> bool:
        """Whether attempts get namespaces."""
        return self.ready.processes == "enforced"

    def read(self) -> None:
        """Take what the zygote said."""
        for message in self.zygote.packets():
            self.messages.append(message)
            if isinstance(message, Started):
                attempt = self.attempts[message.key]
                attempt.pid, attempt.pidfd = message.pid, message.pidfd
            elif isinstance(message, Exited):
                self.attempts[message.key].status = message.status

    def message(self, kind: type[T], **fields: Any) -> T:
        """Wait for a message of the zygote."""

        def found() -> T | None:
            self.read()
            matching = (each for each in self.messages if isinstance(each, kind))
            return next((each for each in matching if all(getattr(each, name) == v for name, v in fields.items())), None)

        return until(found, lambda: f"{kind.__name__} {fields}; there is {self.messages} {self.zygote.tail()}")

    def order(self, command: list[str] | None = None, **spec: Any) -> Attempt:
        """Order an attempt and do not wait for it."""
        number = len(self.attempts) + 1
        uid = spec.pop("uid", FIRST_UID + number if self.ready.uids else None)
        workspace = spec.pop("workspace", None) or self._folder / f"workspace{number}"
        workspace.mkdir(parents=True, exist_ok=True)
        if uid is not None:
            os.chown(workspace, uid, uid)
        attempt = Attempt(f"task_1/{number}", workspace)
        ports = (None, None) if self.inside else (9, 10)
        order = {
            "task_id": "task_1",
            "attempt": number,
            "agent": "tested",
            "kind": self._kind,
            "entry": self._entry,
            "command": command,
            "goal": "be tested",
            "workspace": str(workspace),
            "env": {"STAGE": self.mark},
            "limits": {"memory_bytes": 256 << 20, "open_files": 256, "processes": 600},
            "deadline_s": 60,
            "uid": uid,
            "isolation": self.isolation,
            "gateway": {"host": "127.0.0.1", "port": ports[0], "token": "tth_test"},
            "proxy": {"port": ports[1]},
            **spec,
        }
        self.attempts[attempt.key] = attempt
        self.zygote.start(attempt.key, order, attempt.fds())
        attempt.handed_over()
        return attempt

    def start(self, command: list[str] | None = None, **spec: Any) -> Attempt:
        """Start an attempt; init lives and has a pid when this returns."""
        attempt = self.order(command, **spec)
        self.message(Started, key=attempt.key)
        return attempt

    def gone(self, attempt: Attempt) -> int:
        """Wait until init is gone; its status."""
        return self.message(Exited, key=attempt.key).status

    def left(self) -> list[int]:
        """Processes of this stage that live, but for the zygote."""
        marked = set(processes.survivors(self.mark)) | {pid for each in self.attempts.values() if each.pid for pid in each.tree()}
        return [pid for pid in marked - {self.zygote.pid} if processes.is_alive(pid)]

    def close(self) -> None:
        """Let the zygote end everything, and see that it did."""
        self.zygote.close()
        until(lambda: self.zygote.reap() is not None, "the end of the zygote")
        until(lambda: not self.left(), lambda: f"the end of {self.left()}")
        for attempt in self.attempts.values():
            attempt.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def stage(isolation: str, **spec: Any) -> Iterator[Stage]:
    """A stage for the time of a test."""
    made = Stage(isolation, **spec)
    try:
        yield made
    finally:
        made.close()


def open_the_way(path: Path) -> None:
    """Let other users pass to `path`: pytest keeps its own folders closed; what lies above them is not ours to open."""
    for folder in (path, *path.parents):
        found = folder.stat()
        if found.st_mode & 0o777 == 0o700 and found.st_uid == os.getuid() and folder != Path.home():
            folder.chmod(0o755)
