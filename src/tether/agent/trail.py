"""Which part of a state the supervisor has not got yet: the delta of a checkpoint against the last one that was kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from tether.errors import LinkError

__all__ = ["Trail"]

#: One mark per key; a list has one mark per item, so that growth is seen without keeping the items.
Marks = dict[str, str | list[str]]


class Trail:
    """The last kept checkpoint: its number and marks of its content, because agents change their state in place."""

    def __init__(self, number: int | None = None, state: Any = None) -> None:
        self.number = number
        self._marks = _marks(state) if number is not None else None

    def difference(self, state: Any) -> dict[str, Any]:
        """The fields `state` and `base` of the checkpoint request; raises LinkError for a state that is not JSON."""
        marks = _marks(state)
        before = self._marks
        if self.number is None or before is None or marks is None or set(before) - set(marks):
            return {"state": state, "base": None}
        append: dict[str, list[Any]] = {}
        changed: dict[str, Any] = {}
        for key, mark in marks.items():
            old = before.get(key)
            if mark == old:
                continue
            if isinstance(mark, list) and isinstance(old, list) and mark[: len(old)] == old:
                append[key] = state[key][len(old) :]
            else:
                changed[key] = state[key]
        return {"state": {"append": append, "set": changed}, "base": self.number}

    def kept(self, number: int, state: Any) -> None:
        """The checkpoint of `state` is durable under `number`."""
        self.number = number
        self._marks = _marks(state)

    def extended(self, number: int) -> None:
        """A delta made by the agent itself is durable under `number`; the next difference starts afresh."""
        self.number = number
        self._marks = None


def _marks(state: Any) -> Marks | None:
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in cast("dict[Any, Any]", state)):
        _mark(state)
        return None
    marks: Marks = {}
    for key, value in cast("dict[str, Any]", state).items():
        marks[key] = [_mark(item) for item in cast("list[Any]", value)] if isinstance(value, list) else _mark(value)
    return marks


def _mark(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise LinkError("not_json", f"a checkpoint must be JSON: {error}") from None
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
