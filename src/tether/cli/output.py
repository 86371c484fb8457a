"""What goes to the terminal: results on stdout, everything else on stderr, and no control characters from an agent."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["clean", "errors", "one_line", "out", "print_error", "print_json", "print_value", "say"]

PIPED_WIDTH = 160
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SPACE = re.compile(r"\s+")


@functools.cache
def out() -> Console:
    """The console of stdout, for what was asked for."""
    return _console(stderr=False)


@functools.cache
def errors() -> Console:
    """The console of stderr, for everything that is not the answer."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    fixed = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if fixed else PIPED_WIDTH)


def clean(text: str) -> str:
    """`text` without control and direction characters, so that an agent cannot write to the terminal through us."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def one_line(value: Any, most: int = 160) -> str:
    """Any JSON value as one clean line of at most `most` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = _SPACE.sub(" ", clean(text[: most * 4])).strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def say(text: str = "", style: str = "") -> None:
    """One line on stderr."""
    errors().print(text, style=style, soft_wrap=not errors().is_terminal)


def print_json(document: Any) -> None:
    """A JSON document on stdout: indented on a terminal, one line otherwise."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(document, ensure_ascii=not _unicode(), indent=indent) + "\n")
    sys.stdout.flush()


def print_value(value: Any) -> None:
    """A result alone on stdout: text as it is, anything else as JSON."""
    if isinstance(value, str):
        text = clean(value) if sys.stdout.isatty() else value
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "replace") + b"\n")
        sys.stdout.flush()
    else:
        print_json(value)


def print_error(error: BaseException, *, as_json: bool) -> None:
    """The error on stderr: `error: …` in one line, the ways out below it where there are several; or as JSON."""
    from tether.cli.exits import problem

    found = problem(error)
    if as_json:
        sys.stderr.write(json.dumps(found) + "\n")
        return
    prefix = "internal: " if found["code"] == "internal" else ""
    suffix = f"; {found['remedy']}" if found["code"] == "internal" else ""
    text = clean(found["message"]).replace("\n", " ")
    errors().print(f"error: {prefix}{text}{suffix}", style="red", soft_wrap=True)
    for way_out in getattr(error, "lines", ()):
        errors().print(f"  {way_out}", soft_wrap=True)


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
