"""One tool call: a runner that holds the tool's whole tree, and the tool itself as the runner's child.

The runner is the first process of a PID namespace, or a subreaper: when it goes, everything the tool started goes.
The tool is not that first process itself because the kernel ignores default signals sent to one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tether import packets
from tether.agent import confine, limits, mounts, stacks, syscalls, tree
from tether.agent.adapters.entry import EntryError, load_entry
from tether.agent.adapters.results import as_json
from tether.agent.plan import Plan

__all__ = ["ToolCall", "become_runner", "runner_status"]

_SIGNALLED = 128


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool to start: its entry "module:function", its JSON arguments and options, and where its one result goes."""

    tool_id: str
    entry: str
    args: Mapping[str, Any]
    options: Mapping[str, Any]
    limits: Mapping[str, int]
    result: int
    stdout: int | None
    stderr: int | None

    @classmethod
    def of(cls, request: Mapping[str, Any], fds: Sequence[int]) -> ToolCall:
        """From init's `tool` packet and its descriptors: result, and optionally stdout and stderr."""
        stdout, stderr = (*fds[1:3], None, None)[:2]
        return cls(
            tool_id=str(request["tool_id"]),
            entry=str(request["entry"]),
            args=request.get("args") or {},
            options=request.get("options") or {},
            limits=request.get("limits") or {},
            result=fds[0],
            stdout=stdout,
            stderr=stderr,
        )


def become_runner(plan: Plan, rules: int | None, call: ToolCall, close: Sequence[int]) -> NoReturn:
    """Turn this child of init into the runner of one tool; it leaves with the tool's end and takes what is left along."""
    try:
        syscalls.die_with_parent()
        for fd in close:
            os.close(fd)
        signal.set_wakeup_fd(-1)
        if plan.namespaces:
            mounts.fresh_proc()
        else:
            os.setsid()
            syscalls.become_subreaper()
        child = os.fork()
        if child == 0:
            _become_tool(plan, rules, call)
        os.close(call.result)
        status = _await(child)
        if not plan.namespaces:
            tree.end_children()
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(_SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status))


def runner_status(status: int) -> int:
    """The wait status of the tool, from that of its runner (which cannot die of a signal on purpose)."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) > _SIGNALLED:
        return os.WEXITSTATUS(status) - _SIGNALLED
    return status


def _await(child: int) -> int:
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return status


def _become_tool(plan: Plan, rules: int | None, call: ToolCall) -> NoReturn:
    result = socket.socket(fileno=call.result)
    try:
        syscalls.die_with_parent()
        os.setsid()
        confine.use_stdio(None, call.stdout, call.stderr)
        confine.expect_signals()
        stacks.give_stacks(plan.channels.stacks)
        confine.confine(plan, rules, {**plan.limits, **call.limits})
        os.chdir(plan.workspace)
        limits.arm_deadline(call.options.get("deadline_s"))
        answer = _answer(plan, call)
    except BaseException as error:
        answer = {"ok": False, "error": f"the tool could not be started: {error}", "kind": type(error).__name__}
    try:
        packets.send(result, answer)
    except packets.PacketError as refused:
        packets.send(result, {"ok": False, "error": f"the result of the tool {refused}", "kind": "too_large"})
    except packets.LinkClosed:
        pass
    os._exit(0)


def _answer(plan: Plan, call: ToolCall) -> dict[str, Any]:
    try:
        entry = load_entry(call.entry, 3)
        value = entry.function(Path(plan.workspace), dict(call.args), dict(call.options))
        if entry.awaitable:
            value = asyncio.run(value)
        return {"ok": True, "result": as_json(value)}
    except EntryError as error:
        return {"ok": False, "error": f"{call.entry}: {error}", "kind": "entry"}
    except BaseException as error:
        traceback.print_exc()
        return {"ok": False, "error": str(error) or type(error).__name__, "kind": type(error).__name__}
