"""What an agent's function returned, as JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

from tether.agent.failure import AgentFailed

__all__ = ["as_json"]


def as_json(value: Any) -> Any:
    """`value` as JSON: JSON itself, a pydantic model or a dataclass; raises AgentFailed that says what to return instead."""
    if inspect.iscoroutine(value):
        value.close()
        raise AgentFailed("agent_error", "the agent returned a coroutine; declare it with `async def`")
    plain = _plain(value)
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = (
            f"the agent returned a {type(value).__name__} that is not JSON ({error}); "
            "return text, finite numbers, lists, maps, a dataclass or a pydantic model"
        )
        raise AgentFailed("agent_error", message) from None
    return plain


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not inspect.isclass(value):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not inspect.isclass(value):
        return dataclasses.asdict(value)
    return value
