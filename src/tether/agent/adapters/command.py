"""Any program as an agent: what it is started with, and what its end means. Standard library only."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tether.agent.adapters.entry import EntryError
from tether.agent.adapters.environment import LONGEST_VARIABLE, attempt_environment

__all__ = ["LARGEST_RESULT", "CommandOutcome", "outcome", "prepare"]

LARGEST_RESULT = 16 * 1024 * 1024
_STDOUT_TAIL = 64_000
_RESULT_FILE = "result.json"


@dataclass(frozen=True, kw_only=True)
class CommandOutcome:
    """How a command ended: `problem` is None on success; `reason` is agent_error or invalid_result otherwise."""

    result: Any = None
    problem: str | None = None
    reason: str | None = None


def prepare(spec: Mapping[str, Any]) -> tuple[list[str], dict[str, str], bytes]:
    """Arguments, environment and stdin of the command; raises EntryError when it cannot be started.

    {goal} in an argument is replaced, unless the command works in place.
    """
    goal = spec["goal"]
    argv = [part if spec.get("in_place") else part.replace("{goal}", goal) for part in spec["command"] or ()]
    if not argv:
        raise EntryError("the command is empty", 'write command = ["program", "{goal}"]')
    if any(len(part.encode()) > LONGEST_VARIABLE for part in argv):
        remedy = 'leave "{goal}" out of the command: the goal is on its standard input too'
        raise EntryError(f"the goal is too long for an argument ({len(goal.encode()):,} bytes)", remedy)
    return argv, attempt_environment(spec), goal.encode()


def outcome(workspace: str | Path | None, stdout_text: str, exit_status: int) -> CommandOutcome:
    """What a command accomplished: result.json of its workspace (None: it has none), else what it printed last.

    exit_status: exit code, or minus the signal that ended it. A command that fails still hands over its result.json.
    """
    try:
        found, result = (False, None) if workspace is None else _read_result(Path(workspace))
    except _BadResult as error:
        return CommandOutcome(result=stdout_text.strip()[-_STDOUT_TAIL:], problem=str(error), reason="invalid_result")
    if not found:
        result = stdout_text.strip()[-_STDOUT_TAIL:]
    if exit_status == 0:
        return CommandOutcome(result=result)
    return CommandOutcome(result=result, problem=_ended(exit_status), reason="agent_error")


def _ended(exit_status: int) -> str:
    if exit_status > 0:
        return f"the command ended with exit code {exit_status}"
    try:
        name = signal.Signals(-exit_status).name
    except ValueError:
        name = f"signal {-exit_status}"
    return f"the command was ended by {name}"


class _BadResult(Exception):
    """result.json is there and cannot be the result."""


def _read_result(workspace: Path) -> tuple[bool, Any]:
    try:
        # The agent may have put a link or a pipe there: neither is followed or waited for.
        fd = os.open(workspace / _RESULT_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False, None
    except OSError as error:
        raise _BadResult(f"{_RESULT_FILE} cannot be read ({error.strerror}); write a plain file") from None
    try:
        body = _body(fd)
    finally:
        os.close(fd)
    try:
        return True, json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _BadResult(f"{_RESULT_FILE} is not JSON ({error})") from None


def _body(fd: int) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise _BadResult(f"{_RESULT_FILE} is not a plain file")
    with os.fdopen(fd, "rb", closefd=False) as file:
        body = file.read(LARGEST_RESULT + 1)
    if len(body) > LARGEST_RESULT:
        raise _BadResult(f"{_RESULT_FILE} is over {LARGEST_RESULT:,} bytes; keep large data in another file")
    return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
