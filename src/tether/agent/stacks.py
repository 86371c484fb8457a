"""Stacks on demand: SIGUSR1 writes those of all threads, even while C code holds the interpreter; SIGUSR2 those of tasks."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
from types import CodeType, FrameType
from typing import Any

__all__ = ["give_stacks"]

_MOST_CHARS = 48_000
_DEEPEST = 50


def give_stacks(threads_fd: int, tasks_fd: int | None = None) -> None:
    """Write stacks to these pipes whenever asked by signal; a full pipe loses them instead of blocking."""
    os.set_blocking(threads_fd, False)
    faulthandler.register(signal.SIGUSR1, file=threads_fd, all_threads=True, chain=False)
    if tasks_fd is None:
        return
    os.set_blocking(tasks_fd, False)

    def write_tasks(_number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(tasks_fd, _task_stacks(frame).encode("utf-8", "replace"))

    signal.signal(signal.SIGUSR2, write_tasks)


def _task_stacks(here: FrameType | None) -> str:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "end\n"
    lines: list[str] = []
    for task in asyncio.all_tasks(loop):
        is_current = task is asyncio.current_task(loop)
        lines.append(f"Task {task.get_name()} {'at work' if is_current else 'awaiting'}:\n")
        frames = _called(here) if is_current else _awaited(task.get_coro())
        lines += [f'  File "{code.co_filename}", line {line} in {code.co_name}\n' for code, line in frames]
    return "".join(lines)[:_MOST_CHARS] + "end\n"


def _called(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    """Code and line of each call on the interpreter's stack, outermost first."""
    found: list[tuple[CodeType, int]] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _awaited(waiting: Any) -> list[tuple[CodeType, int]]:
    """Code and line of each coroutine, from the task's own down to the innermost; the task itself knows only the first."""
    found: list[tuple[CodeType, int]] = []
    while waiting is not None and len(found) < _DEEPEST:
        frame = next((frame for name in ("cr", "gi", "ag") if (frame := getattr(waiting, f"{name}_frame", None))), None)
        if frame is not None:
            found.append((frame.f_code, frame.f_lineno))
        inner = (getattr(waiting, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
        waiting = next((each for each in inner if each is not None), None)
    return found
