"""The supervisor's side of a zygote: started with a scrubbed environment, ordered by packets, never waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tether
from tether import packets
from tether.agent.boot import BOOTSTRAP
from tether.errors import WorkerError
from tether.worker import processes

__all__ = ["Exited", "Failed", "Gone", "Message", "Ready", "StartFailed", "Started", "Zygote", "ZygoteSpec", "spawn_zygote"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED = ("LANG", "LC_ALL", "TZ")
_TAIL = 4000


@dataclass(frozen=True, kw_only=True)
class ZygoteSpec:
    """What a zygote is for. Paths are absolute; `tools`: entries its attempts may call; `readable`: what they may read besides
    their code; `uid`: one of the host users they will get, to try it with (None: they get none of their own); `workspaces`: the
    folder their workspaces are in; `python`: None is this interpreter."""

    name: str
    kind: str
    python: str | None = None
    entry: str | None = None
    code_dir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    isolation: str = "auto"
    uid: int | None = None
    workspaces: str | None = None
    tools: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    builtin: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def document(self) -> dict[str, Any]:
        """The `configure` packet."""
        return {
            "op": "configure",
            "name": self.name,
            "kind": self.kind,
            "entry": self.entry,
            "code_dir": self.code_dir,
            "isolation": self.isolation,
            "uid": self.uid,
            "workspaces": self.workspaces,
            "tools": list(self.tools),
            "readable": list(self.readable),
            "builtin": dict(self.builtin),
        }


@dataclass(frozen=True, kw_only=True)
class Ready:
    """It takes orders. mode: fork, or fresh (the entry is imported in each attempt); walls: enforced or cooperative each;
    uids: whether attempts may be given users of their own."""

    pid: int
    mode: str
    files: str
    processes: str
    network: str
    why: Mapping[str, str]
    uids: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Failed:
    """It cannot serve: `field` is the key of the configuration, `remedy` what to change."""

    field: str
    problem: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt's init lives; the receiver closes pidfd."""

    key: str
    pid: int
    pidfd: int


@dataclass(frozen=True, kw_only=True)
class StartFailed:
    """An attempt was not started."""

    key: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class Exited:
    """An attempt's init is gone and reaped; status as from wait."""

    key: str
    status: int


@dataclass(frozen=True, kw_only=True)
class Gone:
    """The zygote itself is gone, and its attempts with it; `tail` is what it said last."""

    tail: str


Message = Ready | Failed | Started | StartFailed | Exited | Gone


class Zygote:
    """A running zygote. All methods return at once; `packets` has news whenever `fileno` is readable."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, said: int) -> None:
        self._process = process
        self._control = control
        self._said = said

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """What to wait on for packets."""
        return self._control.fileno()

    def start(self, key: str, spec: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Order an attempt; fds: link, ctl, stdout, stderr, stacks, astacks (the caller closes its copies).

        Raises WorkerError when the zygote is gone, BlockingIOError when it is so far behind that its socket is full.
        """
        try:
            packets.send(self._control, {"op": "start", "key": key, "spec": dict(spec)}, fds)
        except packets.LinkClosed:
            raise WorkerError("the zygote is gone; start a new one") from None

    def packets(self) -> Iterator[Message]:
        """Everything it said since the last time; the last message of all is Gone."""
        while True:
            try:
                received = packets.receive(self._control)
            except BlockingIOError:
                return
            if received is None:
                yield Gone(tail=self.tail())
                return
            message = _message(*received)
            if message is not None:
                yield message

    def tail(self) -> str:
        """The end of what it wrote to stdout and stderr, which is what imports print."""
        if self._said < 0:
            return ""
        size = os.fstat(self._said).st_size
        return os.pread(self._said, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """SIGKILL it; attempts without namespaces may outlive that, so close() is the better way while it still listens."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go: it sees the end of its orders, ends every attempt and leaves."""
        self._control.close()

    def reap(self) -> int | None:
        """Its exit status once it is gone (negative: the signal), else None; frees what it held."""
        status = self._process.poll()
        if status is not None and self._said >= 0:
            os.close(self._said)
            self._said = -1
            self._control.close()
        return status


def spawn_zygote(spec: ZygoteSpec) -> Zygote:
    """Start a zygote and configure it; returns at once, Ready or Failed comes as a packet. Raises WorkerError.

    Call it from a thread that lives as long as the worker: the kernel kills the zygote when that thread ends.
    """
    ours, theirs = packets.pair()
    said = os.memfd_create("zygote-output", os.MFD_CLOEXEC)
    package = os.path.dirname(os.path.abspath(tether.__file__))
    argv = [spec.python or sys.executable, "-c", BOOTSTRAP, package, str(theirs.fileno())]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=_environment(spec, argv[0]),
            cwd="/",
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        os.close(said)
        raise WorkerError(f"agents.{spec.name}.python: {argv[0]}: {error.strerror}; name a Python 3.11 or newer") from None
    finally:
        theirs.close()
    processes.as_usual(process.pid)  # before it is told anything, so before it has attempts
    packets.send(ours, spec.document())
    ours.setblocking(False)
    return Zygote(process, ours, said)


def _environment(spec: ZygoteSpec, python: str) -> dict[str, str]:
    """Nothing of the worker's own environment but language and time zone: keys and tokens live there."""
    env = {name: os.environ[name] for name in _PASSED if name in os.environ}
    env.setdefault("LANG", "C.UTF-8")
    env |= {"PATH": f"{os.path.dirname(python)}:{_PATH}", "HOME": "/nonexistent"}
    return {**env, **spec.env}


def _message(packet: dict[str, Any], fds: list[int]) -> Message | None:
    key = str(packet.get("key", ""))
    match packet.get("op"):
        case "ready":
            return _ready(packet)
        case "failed":
            return Failed(field=packet["field"], problem=packet["problem"], remedy=packet["remedy"])
        case "started":
            return Started(key=key, pid=packet["pid"], pidfd=fds[0])
        case "start_failed":
            return StartFailed(key=key, problem=packet["problem"])
        case "exited":
            return Exited(key=key, status=packet["status"])
        case _:
            return None


def _ready(packet: dict[str, Any]) -> Ready:
    walls = packet["walls"]
    return Ready(
        pid=packet["pid"],
        mode=packet["mode"],
        files=walls["files"],
        processes=walls["processes"],
        network=walls["network"],
        why=walls["why"],
        uids=packet["uids"],
        notes=tuple(packet["notes"]),
    )
