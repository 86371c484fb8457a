"""The Python client: submit tasks, follow them, decide for them."""

from __future__ import annotations

from tether.client.client import Client
from tether.client.handle import TaskHandle

__all__ = ["Client", "TaskHandle"]
