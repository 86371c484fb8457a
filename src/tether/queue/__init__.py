"""Wake-ups for workers: the queue behind one interface, over no broker, Redis, RabbitMQ or SQS."""

from __future__ import annotations

from collections.abc import Sequence

from tether.config import QueueSettings
from tether.queue.base import Queue, Wake, WakeUp
from tether.queue.poll import Poll

__all__ = ["Queue", "Wake", "WakeUp", "open_queue"]


def open_queue(settings: QueueSettings, *, agents: Sequence[str] = (), tenants: Sequence[str] = ()) -> Queue:
    """The queue of these settings, not connected yet; with `agents` it also listens. Raises ConfigurationError."""
    if not settings.url:
        return Poll()
    from tether.queue.broker import Broker

    return Broker(settings, agents=agents, tenants=tenants)
