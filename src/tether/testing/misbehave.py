"""Agents that will not stop: eleven ways to hang, each `agent(task, link)`, to test that limits hold. Standard library only.

Entries are "tether.testing.misbehave:busy" and so on; KINDS lists them. Each says so on stdout before it misbehaves. The
same eleven are a tool, "tether.testing.misbehave:tool", that takes {"kind": "busy"}. Run them only where something ends them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = [
    "KINDS",
    "balloon",
    "blocked_pipe",
    "busy",
    "daemon",
    "daemon_busy",
    "fork_bomb",
    "ignore_signals",
    "pbkdf2",
    "regex",
    "sleep",
    "stopped",
    "tool",
]

_FOREVER_S = 1e6
_WIDTH = 50
_MOST_PROCESSES = 500


def busy(_task: Any = None, _link: Any = None) -> NoReturn:
    """Burn CPU in pure Python."""
    _say("busy")
    while True:
        pass


def sleep(_task: Any = None, _link: Any = None) -> None:
    """Sleep."""
    _say("sleep")
    time.sleep(_FOREVER_S)


def pbkdf2(_task: Any = None, _link: Any = None) -> None:
    """Compute in C for hours without the interpreter lock."""
    _say("pbkdf2")
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)


def regex(_task: Any = None, _link: Any = None) -> None:
    """Backtrack in C for ages while holding the interpreter lock."""
    _say("regex")
    re.match(r"(a+)+$", "a" * 64 + "b")


def ignore_signals(_task: Any = None, _link: Any = None) -> None:
    """Ignore every signal that can be ignored, and sleep."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1, signal.SIGUSR2}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    _say("ignore_signals")
    _sleep_on()


def daemon(_task: Any = None, _link: Any = None) -> None:
    """Leave a sleeping daemon behind that no longer belongs to the process's group, session or parent; then sleep."""
    _daemonise(_sleep_on)
    _say("daemon")
    _sleep_on()


def daemon_busy(_task: Any = None, _link: Any = None) -> NoReturn:
    """Leave a daemon behind that burns CPU, and burn some."""
    _daemonise(_burn)
    _say("daemon_busy")
    _burn()


def fork_bomb(_task: Any = None, _link: Any = None) -> None:
    """Start fifty processes that start others, a third of them in sessions of their own: five hundred in all, at most."""
    _say("fork_bomb")
    counter, end = os.pipe()
    os.write(end, b"." * _MOST_PROCESSES)
    for index in range(_WIDTH):
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                _bomb(counter, index)
    _sleep_on()


def balloon(_task: Any = None, _link: Any = None) -> None:
    """Take memory until there is no more, and hold it."""
    _say("balloon")
    held: list[bytearray] = []
    with contextlib.suppress(MemoryError):
        while True:
            held.append(bytearray(b"\1") * (8 << 20))
    _sleep_on()


def blocked_pipe(_task: Any = None, _link: Any = None) -> None:
    """Write into a pipe nobody reads."""
    _say("blocked_pipe")
    _read, write = os.pipe()
    while True:
        os.write(write, b"x" * 65536)


def stopped(_task: Any = None, _link: Any = None) -> None:
    """Stop itself."""
    _say("stopped")
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


KINDS: Mapping[str, Callable[..., Any]] = {
    "busy": busy,
    "sleep": sleep,
    "pbkdf2": pbkdf2,
    "regex": regex,
    "ignore_signals": ignore_signals,
    "daemon": daemon,
    "daemon_busy": daemon_busy,
    "fork_bomb": fork_bomb,
    "balloon": balloon,
    "blocked_pipe": blocked_pipe,
    "stopped": stopped,
}


def tool(_workspace: Any, args: Mapping[str, Any], _options: Mapping[str, Any]) -> None:
    """Misbehave as args["kind"] says, as a tool."""
    KINDS[str(args["kind"])]()


def _say(kind: str) -> None:
    sys.stdout.write(f"misbehaving: {kind}\n")
    sys.stdout.flush()


def _sleep_on() -> NoReturn:
    while True:
        time.sleep(_FOREVER_S)


def _burn() -> NoReturn:
    while True:
        pass


def _daemonise(then: Callable[[], NoReturn]) -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            then()
        os._exit(0)


def _bomb(counter: int, index: int) -> NoReturn:
    if index % 3 == 0:
        os.setsid()
    os.set_blocking(counter, False)
    with contextlib.suppress(OSError):
        while os.read(counter, 1):
            if os.fork() == 0:
                with contextlib.suppress(OSError):
                    os.setsid()
                _sleep_on()
    _sleep_on()
