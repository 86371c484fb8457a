"""How a checkpoint delta changes a state: lists grow, keys are set; the agent sends it, the store composes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tether.errors import ValidationError

__all__ = ["apply_delta"]


def apply_delta(state: Any, delta: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with `delta` = {"append": {list name: items}, "set": {key: value}} applied; neither is changed.

    Raises ValidationError when the delta has another shape or appends to something that is not a list.
    """
    if not isinstance(state, Mapping) or set(delta) - {"append", "set"}:
        raise ValidationError("checkpoint", "is not a delta on an object", 'use {"append": {…}, "set": {…}}')
    out = dict(cast("Mapping[str, Any]", state))
    for name, items in delta.get("append", {}).items():
        if not isinstance(out.get(name, []), list) or not isinstance(items, list):
            raise ValidationError(f"checkpoint.append.{name}", "is not a list", "append lists to lists")
        out[name] = [*out.get(name, []), *cast("list[Any]", items)]
    out.update(delta.get("set", {}))
    return out
