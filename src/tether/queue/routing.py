"""Which queue a wake-up goes to, and which queues a worker listens on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from tether.config import QueueSettings
from tether.errors import ConfigurationError
from tether.queue.base import LANES, Wake, lane_of

__all__ = ["name_of", "names_for"]


def name_of(settings: QueueSettings, wake: Wake) -> str:
    """The queue of one task, for example `tether.autogpt`."""
    part = {"agent": wake.agent, "tenant": wake.tenant, "priority": lane_of(wake.priority)}
    return _name(settings, [part[key] for key in settings.route])


def names_for(settings: QueueSettings, agents: Sequence[str], tenants: Sequence[str]) -> list[str]:
    """The queues a worker of these agents (and tenants) listens on, the urgent lanes first. Raises ConfigurationError."""
    if not agents:
        return []
    if "tenant" in settings.route and not tenants:
        raise ConfigurationError(
            "queue.route", "has tenant, but the worker names none", "set worker.tenants, or leave tenant out"
        )
    choices = {"agent": list(agents), "tenant": list(tenants), "priority": list(LANES)}
    lanes_first = sorted(settings.route, key=lambda key: key != "priority")
    found = [dict(zip(lanes_first, values, strict=True)) for values in product(*(choices[key] for key in lanes_first))]
    return list(dict.fromkeys(_name(settings, [values[key] for key in settings.route]) for values in found))


def _name(settings: QueueSettings, parts: Sequence[str]) -> str:
    name = ".".join((settings.name, *parts))
    if not settings.url.startswith("sqs"):
        return name
    # SQS takes letters, digits, - and _ only, and wants .fifo at the end of a FIFO queue's name.
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:75]
    return f"{plain}.fifo" if settings.fifo else plain
