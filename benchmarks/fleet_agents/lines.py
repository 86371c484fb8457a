"""Agents that write when they began."""

from __future__ import annotations

import os
import time
from typing import Any


def _note(task: Any) -> None:
    line = f"{task.goal} {time.time():.6f}\n".encode()
    book = os.open(task.input["book"], os.O_WRONLY | os.O_APPEND)
    os.write(book, line)
    os.close(book)


def line(task: Any, link: Any) -> str:  # noqa: ARG001 - every agent takes both
    """One line."""
    _note(task)
    return "done"


def stay(task: Any, link: Any) -> None:
    """One line, then work for ever."""
    _note(task)
    while True:
        link.step()
        time.sleep(1)
