"""What each broker is told: waits are bounded everywhere, and what a dead worker held comes back soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tether.config import QueueSettings
from tether.errors import ConfigurationError

__all__ = ["EXTRAS", "connection_options", "extra_for"]

#: URL scheme -> the extra of the package that brings its client.
EXTRAS = {
    "redis": "redis",
    "rediss": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "sqs": "sqs",
    "memory": "rabbitmq",
}
_ANSWER_S = 5.0
_HEARTBEAT_S = 20
_UNACKED_S = 60
_LONG_POLL_S = 10


def extra_for(url: str) -> str:
    """The extra that a queue URL needs. Raises ConfigurationError when the scheme is unknown."""
    scheme = urlsplit(url).scheme
    if scheme not in EXTRAS:
        known = ", ".join(f"{name}://" for name in EXTRAS)
        raise ConfigurationError("queue.url", f"{scheme or url!r} is not supported", f"use one of {known}, or leave it empty")
    return EXTRAS[scheme]


def connection_options(settings: QueueSettings, queues: int) -> dict[str, Any]:
    """Keyword arguments of a Kombu connection that listens on so many queues (0: it only publishes)."""
    scheme = urlsplit(settings.url).scheme
    options = _TRANSPORT[EXTRAS[scheme]](settings, queues) | settings.options
    url = settings.url
    heartbeat = _HEARTBEAT_S if scheme.startswith("amqp") and queues else 0
    if scheme == "sqs" and settings.endpoint:
        url = _with_endpoint(settings.url, settings.endpoint)
    return {"hostname": url, "connect_timeout": _ANSWER_S, "heartbeat": heartbeat, "transport_options": options}


def _with_endpoint(url: str, endpoint: str) -> str:
    """The credentials of the URL with the endpoint's host, which is where Kombu looks for it."""
    credentials = urlsplit(url).netloc.rpartition("@")[0]
    where = urlsplit(endpoint).netloc
    return f"sqs://{credentials}@{where}/" if credentials else f"sqs://{where}/"


def _redis(settings: QueueSettings, queues: int) -> dict[str, Any]:  # noqa: ARG001 - one signature for all
    return {
        "socket_timeout": _ANSWER_S,
        "socket_connect_timeout": _ANSWER_S,
        "socket_keepalive": True,
        "visibility_timeout": _UNACKED_S,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "max_retries": 1,
    }


def _rabbitmq(settings: QueueSettings, queues: int) -> dict[str, Any]:
    if settings.url.startswith("memory"):
        return {"polling_interval": 0.01}
    return {
        "confirm_publish": True,
        "read_timeout": _ANSWER_S if not queues else None,
        "write_timeout": _ANSWER_S,
        "max_retries": 1,
    }


def _sqs(settings: QueueSettings, queues: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "visibility_timeout": _UNACKED_S,
        # Queues are asked one after another, so what waits on one must not wait long for the others.
        "wait_time_seconds": max(1, _LONG_POLL_S // max(queues, 1)),
        "polling_interval": 0.0,
        "is_secure": not settings.endpoint.startswith("http://"),
        "client-config": {
            "connect_timeout": _ANSWER_S,
            "read_timeout": _LONG_POLL_S + _ANSWER_S,
            "retries": {"total_max_attempts": 2},
        },
    }
    if settings.region:
        options["region"] = settings.region
    return options


_TRANSPORT: dict[str, Callable[[QueueSettings, int], dict[str, Any]]] = {"redis": _redis, "rabbitmq": _rabbitmq, "sqs": _sqs}
