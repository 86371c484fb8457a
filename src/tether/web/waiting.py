"""Waiting for a task without asking again and again: the tail of the journal says when to look."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from tether.lifecycle import FINAL, SETTLED, State

if TYPE_CHECKING:
    from tether.web.service import Service

__all__ = ["GOALS", "LONGEST_S", "preferred_wait", "wait_for"]

GOALS: dict[str, frozenset[State]] = {"settled": SETTLED, "final": FINAL}
LONGEST_S = 60.0
_GATHER_S = 0.02


def preferred_wait(header: str) -> float | None:
    """Seconds of `Prefer: wait=N`, at most LONGEST_S; None without."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])", header)
    return None if found is None else min(float(found[1]), LONGEST_S)


async def wait_for(service: Service, task_id: str, goal: str, timeout_s: float) -> None:
    """Return when the task is settled or final, or after timeout_s."""
    states = GOALS[goal]
    try:
        async with asyncio.timeout(timeout_s), service.tail.following(task_id) as follower:
            while not service.closing.is_set():
                follower.missed = False
                follower.events.clear()
                found = await service.call(service.store.states, [task_id])
                if task_id not in found or found[task_id][0] in states:
                    return
                await follower.wait()
                await asyncio.sleep(_GATHER_S)  # a busy task has many events; one look serves several
    except TimeoutError:
        return
