"""The agent process, from its fork off init to the first line of the agent."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from tether.agent import adapters, confine, limits, stacks, syscalls
from tether.agent.adapters import command
from tether.agent.plan import Plan

__all__ = ["become_agent"]

_CANNOT_START, _NOT_EXECUTABLE, _NOT_FOUND = 70, 126, 127


def become_agent(plan: Plan, rules: int | None, close: Sequence[int]) -> NoReturn:
    """Turn this fork of init into the agent; never returns. `close`: descriptors of init it must not have."""
    try:
        _leave_init(plan, close)
        if plan.spec["kind"] == "command":
            _execute_command(plan, rules)
        code = _execute_python(plan, rules)
    except BaseException:
        # What went wrong before the agent's own reporting is set up can only be said here.
        traceback.print_exc()
        code = _CANNOT_START
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    os._exit(code)


def _leave_init(plan: Plan, close: Sequence[int]) -> None:
    syscalls.die_with_parent()
    os.setsid()
    for fd in close:
        os.close(fd)
    channels = plan.channels
    confine.use_stdio(None, channels.stdout, channels.stderr)
    os.close(channels.stdout)
    os.close(channels.stderr)


def _execute_python(plan: Plan, rules: int | None) -> int:
    confine.expect_signals()
    channels = plan.channels
    stacks.give_stacks(channels.stacks, channels.astacks)
    confine.confine(plan, rules, plan.limits)
    _enter(plan.workspace)
    limits.arm_deadline(plan.spec.get("deadline_s"))
    link = socket.socket(fileno=channels.link)
    return adapters.execute(plan.spec, link)


def _execute_command(plan: Plan, rules: int | None) -> NoReturn:
    argv, env, stdin = command.prepare(plan.spec)
    memory = os.memfd_create("goal", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(memory), "wb") as file:
        file.write(stdin)
    os.lseek(memory, 0, os.SEEK_SET)
    os.dup2(memory, 0, inheritable=True)
    confine.expect_signals(for_program=True)
    confine.confine(plan, rules, plan.limits)
    os.environ.update(env)
    _enter(plan.code_dir or plan.workspace)
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        print(f"tether: {argv[0]}: there is no such program in PATH or code_dir", file=sys.stderr, flush=True)
        os._exit(_NOT_FOUND)
    except OSError as error:
        print(f"tether: {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_NOT_EXECUTABLE)


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        who = "attempts have no privileges, not even those of a worker that is root"
        print(
            f"tether: {folder}: {error.strerror}; {who}: open it and the folders above (chmod o+x)", file=sys.stderr, flush=True
        )
        os._exit(_NOT_EXECUTABLE)
