"""A program run for the model: its output kept within bounds, its end not waited for longer than it lives.

The tool has a process of its own with its own time limit, so there is none here; what the program leaves running dies with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_program"]

_GRACE_S = 0.2


class _Kept:
    """The first and the last bytes of a stream of any length."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._half - len(self._head)
        self._head += chunk[:room] if room > 0 else b""
        self._tail += chunk[max(0, room) :]
        del self._tail[: -self._half]

    def text(self) -> str:
        left_out = self.total - len(self._head) - len(self._tail)
        gap = f"\n… {left_out:,} bytes left out …\n".encode() if left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode("utf-8", "replace")


def run_program(argv: Sequence[str], workspace: Path, stdin: bytes, most_bytes: int) -> dict[str, Any]:
    """Run a program in the workspace: {exit_code, stdout, stderr}; a negative exit code is minus the signal that ended it."""
    with _started(argv, workspace) as program:
        kept = {"stdout": _Kept(most_bytes), "stderr": _Kept(most_bytes)}
        _exchange(program, stdin, kept)
        exit_code = program.wait()
    return {"exit_code": exit_code, **{name: stream.text() for name, stream in kept.items()}}


@contextlib.contextmanager
def _started(argv: Sequence[str], workspace: Path) -> Generator[subprocess.Popen[bytes]]:
    program = subprocess.Popen(argv, cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield program
    finally:
        for stream in (program.stdin, program.stdout, program.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _exchange(program: subprocess.Popen[bytes], stdin: bytes, kept: dict[str, _Kept]) -> None:
    """Feed and read until both streams end, or the program did and a child of it still holds them."""
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    deadline: float | None = None
    with selectors.DefaultSelector() as ready:
        for name, stream in (("stdout", program.stdout), ("stderr", program.stderr)):
            os.set_blocking(stream.fileno(), False)
            ready.register(stream.fileno(), selectors.EVENT_READ, name)
        os.set_blocking(program.stdin.fileno(), False)
        ready.register(program.stdin.fileno(), selectors.EVENT_WRITE, "stdin")
        rest = memoryview(stdin)
        while ready.get_map() and (deadline is None or time.monotonic() < deadline):
            for key, _ in ready.select(0.05):
                if key.data == "stdin":
                    rest = _feed(key.fd, rest)
                    if not rest:
                        ready.unregister(key.fd)
                        program.stdin.close()
                elif not _drain(key.fd, kept[key.data]):
                    ready.unregister(key.fd)
            if deadline is None and program.poll() is not None:
                deadline = time.monotonic() + _GRACE_S


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest) :]
    except BlockingIOError:
        return rest
    except OSError:
        return rest[len(rest) :]  # the program does not read its input


def _drain(fd: int, kept: _Kept) -> bool:
    try:
        chunk = os.read(fd, 65_536)
    except BlockingIOError:
        return True
    kept.add(chunk)
    return bool(chunk)
