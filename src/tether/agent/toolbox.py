"""The tools as the model sees them: each asks for the thought behind the call, and `finish` ends the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_ai.tools import ToolDefinition

from tether.agent.tools import ToolSpec

__all__ = ["FINISH", "REFLECTION", "definitions"]

FINISH = "finish"

#: Carried as arguments rather than text, because servers that force a tool call (a grammar) leave no room for text beside it;
#: they come first, so that the model thinks before it decides on the rest.
REFLECTION: dict[str, dict[str, Any]] = {
    "thought": {"type": "string", "description": "what you know now, and why this is the next step"},
    "plan": {"type": "array", "items": {"type": "string"}},
    "criticism": {"type": "string"},
}


def definitions(tools: Iterable[ToolSpec], result_schema: Mapping[str, Any] | None) -> list[ToolDefinition]:
    """What is sent to the model: the tools and `finish`."""
    offered = [_definition(tool.name, tool.description, tool.parameters) for tool in tools]
    return [*offered, _finish(result_schema)]


def _definition(name: str, description: str, parameters: Mapping[str, Any]) -> ToolDefinition:
    own: Mapping[str, Any] = parameters.get("properties") or {}
    added = {key: schema for key, schema in REFLECTION.items() if key not in own}
    required = [key for key in ("thought",) if key in added]
    schema = {
        **parameters,
        "type": "object",
        "properties": {**added, **own},
        "required": [*required, *(parameters.get("required") or ())],
    }
    # strict would make every argument obligatory, the plan too.
    return ToolDefinition(name=name, description=description, parameters_json_schema=schema, strict=False)


def _finish(result_schema: Mapping[str, Any] | None) -> ToolDefinition:
    if result_schema is None:
        wanted: dict[str, Any] = {"type": "string", "description": "the complete answer for the user"}
    else:
        wanted = dict(result_schema)
    # References in the user's schema are relative to its root, which is no longer the root here.
    shared = {key: wanted.pop(key) for key in ("$defs", "definitions") if key in wanted}
    wanted.pop("$schema", None)
    parameters = {
        **shared,
        "type": "object",
        "properties": {"result": wanted, "summary": {"type": "string", "description": "one sentence on what was done"}},
        "required": ["result"],
    }
    return _definition(
        FINISH, "End the work and hand the result to the user. Only when the goal is reached or cannot be.", parameters
    )
