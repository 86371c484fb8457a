"""Tether keeps an LLM agent on a line: killable processes, hard timeouts, budgets outside the agent, a durable journal."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tether.client import Client as Client
    from tether.client import TaskHandle as TaskHandle
    from tether.client.async_client import AsyncClient as AsyncClient
    from tether.errors import BudgetExceeded as BudgetExceeded
    from tether.errors import TaskFailed as TaskFailed
    from tether.errors import TetherError as TetherError
    from tether.errors import ValidationError as ValidationError
    from tether.task import AutoGPTTask as AutoGPTTask
    from tether.task import Budget as Budget
    from tether.task import Task as Task
    from tether.task import TaskDocument as TaskDocument
    from tether.task import Timeouts as Timeouts

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "tether.client.async_client",
    "AutoGPTTask": "tether.task",
    "Budget": "tether.task",
    "BudgetExceeded": "tether.errors",
    "Client": "tether.client",
    "Task": "tether.task",
    "TaskDocument": "tether.task",
    "TaskFailed": "tether.errors",
    "TaskHandle": "tether.client",
    "TetherError": "tether.errors",
    "Timeouts": "tether.task",
    "ValidationError": "tether.errors",
}

__all__ = [
    "AsyncClient",
    "AutoGPTTask",
    "Budget",
    "BudgetExceeded",
    "Client",
    "Task",
    "TaskDocument",
    "TaskFailed",
    "TaskHandle",
    "TetherError",
    "Timeouts",
    "ValidationError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tether' has no attribute {name!r}")
    return getattr(import_module(home), name)
