"""What a model passes to a tool, checked: models leave things out and send numbers as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ToolProblem", "number", "text"]


class ToolProblem(Exception):
    """The tool cannot do what was asked; the message is for the model and says what to do instead."""


def text(args: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """The text argument `name`; raises ToolProblem when it is missing (and has no default) or something else."""
    value = args.get(name, default)
    if value is None:
        raise ToolProblem(f"the argument {name!r} is missing")
    if not isinstance(value, str):
        raise ToolProblem(f"the argument {name!r} must be text, not {type(value).__name__}")
    if "\0" in value:
        raise ToolProblem(f"the argument {name!r} contains a NUL character")
    return value


def number(args: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """The whole number `name`, held within least and most; raises ToolProblem when it is no number."""
    value = args.get(name)
    if value is None or value == "":
        return default
    try:
        return max(least, min(most, int(value)))
    except (TypeError, ValueError, OverflowError):
        raise ToolProblem(f"the argument {name!r} must be a whole number, not {value!r}") from None
