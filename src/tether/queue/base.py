"""What every queue does: announce wake-ups, hand out the next one, have it acknowledged.

A wake-up is a hint: it names a task that may be claimed. The rows are the truth: one that is lost, doubled or late
costs at most a look at the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["LANES", "Queue", "Wake", "WakeUp", "lane_of"]

#: The three lanes that priorities fall into where messages are routed by priority, highest first.
LANES = ("high", "normal", "low")


def lane_of(priority: int) -> str:
    """The lane of a priority: above 0, 0, below 0."""
    return LANES[0] if priority > 0 else LANES[1] if priority == 0 else LANES[2]


class Wake(Protocol):
    """A task to be announced."""

    @property
    def task_id(self) -> str: ...

    @property
    def agent(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def priority(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class WakeUp:
    """A received wake-up; `receipt` is the queue's own."""

    task_id: str
    receipt: Any = None


class Queue(Protocol):
    """One connection to a broker, opened when first used and again after a fault; for one thread.

    Every method but `close` raises QueueUnavailable when the broker cannot be reached now; the next call connects anew.
    """

    def announce(self, wakes: Sequence[Wake]) -> None:
        """Publish one message for each task, confirmed by the broker where it confirms."""
        ...

    def next(self, timeout_s: float) -> WakeUp | None:
        """The next wake-up for this worker, unacknowledged; None when there is none within timeout_s seconds."""
        ...

    def ack(self, wakeup: WakeUp, *, more: bool) -> None:
        """The wake-up was looked after. more False: take no further one before `next` is called again."""
        ...

    def back(self, wakeup: WakeUp) -> None:
        """Give the wake-up to another worker, and take no further one before `next` is called again."""
        ...

    def keep(self) -> None:
        """Keep the connection alive while nothing is asked of it; to be called every few seconds."""
        ...

    def close(self) -> None:
        """Disconnect; what was not acknowledged goes to others. Never raises."""
        ...
