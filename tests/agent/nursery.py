"""A warm process that forks attempts for the tests of this folder: real processes to kill, without seconds of imports each.

As a program it serves on the socket with the descriptor in its argument; `Nursery` is the tests' side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Self

from tether.packets import pair, receive, send

_START_S = 60.0
_END_S = 30.0


class Nursery:
    """Starts attempts: `start(spec, link)` returns a process id, `wait(pid)` its exit code (minus the signal)."""

    def __enter__(self) -> Self:
        ours, theirs = pair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        self._sock = ours
        self._sock.settimeout(_START_S)
        self.after_rehearsal = self._reply()
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        self._process.wait(_END_S)

    def start(self, spec: dict[str, Any], link: socket.socket) -> int:
        """Fork an attempt that carries out `spec` over `link`."""
        send(self._sock, {"op": "start", "spec": spec}, [link.fileno()])
        return self._reply()["pid"]

    def wait(self, pid: int, timeout_s: float = _END_S) -> int:
        """The exit code of an attempt; kills it and raises TimeoutError when it does not end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            send(self._sock, {"op": "poll", "pid": pid})
            status = self._reply()["status"]
            if status is not None:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        raise TimeoutError(f"attempt {pid} did not end within {timeout_s:g} s")

    def _reply(self) -> dict[str, Any]:
        received = receive(self._sock)
        assert received is not None, "the nursery ended"
        return received[0]


def _serve(sock: socket.socket) -> None:
    from tether.agent import loop

    loop.warm()
    loop.warm({"provider": "anthropic", "tools": ["read_file"]})
    send(sock, {"threads": len(os.listdir("/proc/self/task")), "descriptors": _descriptors(sock.fileno())})
    while (received := receive(sock)) is not None:
        packet, fds = received
        if packet["op"] == "start":
            pid = os.fork()
            if pid == 0:
                _attempt(packet["spec"], socket.socket(fileno=fds[0]), sock)
            os.close(fds[0])
            send(sock, {"pid": pid})
        else:
            ended, status = os.waitpid(packet["pid"], os.WNOHANG)
            send(sock, {"status": status if ended else None})


def _descriptors(own: int) -> list[str]:
    """What is open beside the standard streams and our socket."""
    open_fds = [int(fd) for fd in os.listdir("/proc/self/fd")]
    return [
        os.readlink(f"/proc/self/fd/{fd}") for fd in open_fds if fd > 2 and fd != own and os.path.exists(f"/proc/self/fd/{fd}")
    ]


def _attempt(spec: dict[str, Any], link: socket.socket, control: socket.socket) -> None:
    from tether.agent import adapters

    control.close()
    code = 70
    with contextlib.suppress(BaseException):
        os.environ.update(spec.get("env", {}))
        sys.path[:0] = [spec["code_dir"]] if "code_dir" in spec else []
        os.chdir(spec["workspace"])
        code = adapters.execute(spec, link)
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
