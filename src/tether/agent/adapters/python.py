"""A Python function as an agent: called with (task, link), its return value is the result, its exception the failure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tether.agent.adapters.results import as_json
from tether.agent.async_link import AsyncLink
from tether.agent.failure import failure_of
from tether.agent.hello import Hello
from tether.agent.link import Link
from tether.errors import AttemptEnding, BudgetExceeded

__all__ = ["conduct", "conduct_async"]

_END_WAIT_S = 30.0
_CLEANUP_S = 1.0


def conduct(function: Callable[[Any, Link], Any], sock: socket.socket, hello: Hello) -> int:
    """Run `def function(task, link)` to its end and report it; returns the exit code of the process."""
    link = Link(sock, hello)
    with contextlib.suppress(AttemptEnding):
        try:
            result = function(link.task, link)
            if not link.finished:
                link.finish(as_json(result))
        except AttemptEnding:
            return 0
        except BudgetExceeded as error:
            # The supervisor refused, so it is about to pause or end this attempt: anything said now would race with it.
            # Only where the agent was to wrap up it waits for a word, and this is the last one.
            if link.task.wraps_up:
                link.fail("agent_error", str(error))
            link.wait_for_end(_END_WAIT_S)
        except BaseException as error:
            failure = failure_of(error)
            link.fail(failure.reason, failure.message, failure.traceback)
    return 0


def conduct_async(function: Callable[[Any, AsyncLink], Coroutine[Any, Any, Any]], sock: socket.socket, hello: Hello) -> int:
    """Run `async def function(task, link)` on a loop to its end and report it; returns the exit code of the process."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_attempt(function, AsyncLink(sock, hello)))
        _cancel_rest(loop)
    finally:
        asyncio.set_event_loop(None)
        # Not asyncio.run: it would join the executor's threads, and one that hangs would keep a finished attempt alive.
        loop.close()
    return 0


async def _attempt(function: Callable[[Any, AsyncLink], Coroutine[Any, Any, Any]], link: AsyncLink) -> None:
    with contextlib.suppress(AttemptEnding):
        try:
            result = await function(link.task, link)
            if not link.finished:
                await link.finish(as_json(result))
        except AttemptEnding:
            return
        except BudgetExceeded as error:
            if link.task.wraps_up:
                await link.fail("agent_error", str(error))
            await link.wait_for_end(_END_WAIT_S)
        except BaseException as error:
            failure = failure_of(error)
            await link.fail(failure.reason, failure.message, failure.traceback)
        finally:
            link.close()


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Let the tasks the agent left behind clean up, for a bounded time."""
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.wait(rest, timeout=_CLEANUP_S))
