"""How requests over Link are answered: the reply's type, a refusal, and texts of a bounded length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["LONGEST_TEXT", "Reply", "refused", "text"]

Reply = Callable[[Mapping[str, Any]], None]
LONGEST_TEXT = 20_000


def refused(reason: str, message: str) -> dict[str, Any]:
    """An answer that says no, with a closed reason."""
    return {"ok": False, "reason": reason, "message": message}


def text(value: Any, most: int) -> str:
    """A value as text of at most `most` characters."""
    return ("" if value is None else str(value))[:most]
