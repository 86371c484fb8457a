"""Wake-ups for workers: the queue behind one interface, over no broker, Redis, RabbitMQ or SQS."""

from __future__ import annotations

from collections.abc import Sequence

from tether.config import QueueSettings
from tether.queue.base import Queue, Wake, WakeUp
from tether.queue.poll import Poll
from tether.queue.routing import names_for

__all__ = ["Queue", "Wake", "WakeUp", "open_listening", "open_queue"]

_MOST_CONNECTIONS = 32


def open_queue(settings: QueueSettings, *, agents: Sequence[str] = (), tenants: Sequence[str] = ()) -> Queue:
    """The queue of these settings, not connected yet; with `agents` it also listens. Raises ConfigurationError."""
    if not settings.url:
        return Poll()
    from tether.queue.broker import Broker

    return Broker(settings, names_for(settings, agents, tenants))


def open_listening(settings: QueueSettings, *, agents: Sequence[str], tenants: Sequence[str]) -> list[Queue]:
    """What a worker listens on, each for a thread of its own. Raises ConfigurationError.

    SQS is asked by long polls, one queue at a time; what waits in one must not wait for the poll of another.
    """
    if not settings.url.startswith("sqs"):
        return [open_queue(settings, agents=agents, tenants=tenants)]
    from tether.queue.broker import Broker

    names = names_for(settings, agents, tenants)
    return [Broker(settings, names[first::_MOST_CONNECTIONS]) for first in range(min(len(names), _MOST_CONNECTIONS))]
