"""Exit codes, and how an error becomes one line and a code."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from tether.errors import (
    ConfigurationError,
    NotAuthorised,
    TaskFailed,
    TetherError,
    ValidationError,
    WaitTimeout,
)

if TYPE_CHECKING:
    from tether.task import TaskDocument

__all__ = [
    "AUTH",
    "DETACHED",
    "ERROR",
    "FAILED",
    "MEANING",
    "OK",
    "TIMED_OUT",
    "USAGE",
    "WAITING",
    "code_of",
    "of_task",
    "problem",
    "usage",
]

OK = 0
ERROR = 1
USAGE = 2
FAILED = 3
AUTH = 4
WAITING = 5
TIMED_OUT = 6
DETACHED = 130
MEANING = "0 succeeded, 1 error of ours, 2 usage, 3 task failed, 4 not authorised, 5 waits for a human, 6 timed out, 130 detached"

_TIMEOUTS = frozenset({"tool_timeout", "step_timeout", "task_timeout", "idle_timeout"})
_BAD_VALUE = re.compile(r"Invalid value for '?(?P<field>[^':]+)'?: (?P<problem>.*)", re.DOTALL)
_PLAIN = (("Input should be a valid integer", "is not a whole number"), ("Input should be a valid number", "is not a number"))
_OTHER_USAGE = (
    (re.compile(r"No such option: '?(?P<field>--?[^\s'.]+)'?\.?(?P<rest>.*)", re.DOTALL), "there is no such option"),
    (re.compile(r"No such command '(?P<field>[^']+)'\.?(?P<rest>.*)", re.DOTALL), "there is no such command"),
    (re.compile(r"Missing (?:argument|option|parameter) '(?P<field>[^']+)'\.?(?P<rest>.*)", re.DOTALL), "is missing"),
    (re.compile(r"Option '(?P<field>[^']+)' requires (?P<rest>.*)", re.DOTALL), "needs a value"),
    (
        re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<field>.+)\)(?P<rest>.*)", re.DOTALL),
        "is one argument too many",
    ),
)


def of_task(task: TaskDocument) -> int:
    """The exit code that tells how a task stands; ERROR while it is not settled."""
    if task.state == "succeeded":
        return OK
    if task.state == "paused":
        return WAITING
    if task.state in ("failed", "cancelled"):
        return TIMED_OUT if task.reason in _TIMEOUTS else FAILED
    return ERROR


def code_of(error: BaseException) -> int:
    """The exit code of an error: usage for what was typed, ours for configuration and store."""
    if isinstance(error, TaskFailed):
        return of_task(error.task)
    if isinstance(error, WaitTimeout):
        return TIMED_OUT
    if isinstance(error, NotAuthorised):
        return AUTH
    if isinstance(error, ValidationError) and not isinstance(error, ConfigurationError):
        return USAGE
    return ERROR


def problem(error: BaseException) -> dict[str, Any]:
    """The error as `--json` prints it: code and message, with field, problem and remedy where there are any."""
    if not isinstance(error, TetherError):
        return {"code": "internal", "message": f"{type(error).__name__}: {error}", "remedy": "set TETHER_DEBUG=1 to see where"}
    out: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, ValidationError):
        out |= {"field": error.field, "problem": error.problem, "remedy": error.remedy}
    return out


def usage(message: str, command: str) -> ValidationError:
    """A usage error of the parser as `field: problem; remedy`."""
    remedy = f"see `{command} --help`"
    found = _BAD_VALUE.match(message)
    if found:
        wrong = next((plain for start, plain in _PLAIN if found["problem"].startswith(start)), found["problem"])
        return ValidationError(found["field"].strip(), wrong.strip().rstrip("."), remedy)
    for pattern, text in _OTHER_USAGE:
        found = pattern.match(message)
        if found:
            hint = found["rest"].strip().lstrip("(").rstrip(").?")
            return ValidationError(found["field"], text, f"{hint}; {remedy}" if hint.startswith("Did you mean") else remedy)
    return ValidationError("command line", message.rstrip("."), remedy)


def wants_traceback() -> bool:
    """Whether TETHER_DEBUG asks for the traceback."""
    return os.environ.get("TETHER_DEBUG", "") not in ("", "0")
