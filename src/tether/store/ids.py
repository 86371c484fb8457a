"""Names of tasks, approvals and calls: a prefix and 26 characters that sort by the time they were made."""

from __future__ import annotations

import secrets
import time

__all__ = ["made_at_ms", "new_id", "new_ids", "time_bound"]

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80


def _text(number: int) -> str:
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -1, -5))


def new_ids(prefix: str, count: int, at_ms: int | None = None) -> list[str]:
    """`count` names that sort in the order of the list; at_ms is Unix time in milliseconds, now by default."""
    at = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    first = (at << _RANDOM_BITS) + secrets.randbits(_RANDOM_BITS - 1)
    return [f"{prefix}_{_text(first + n)}" for n in range(count)]


def new_id(prefix: str, at_ms: int | None = None) -> str:
    """One name; see new_ids."""
    return new_ids(prefix, 1, at_ms)[0]


def time_bound(prefix: str, at_ms: int) -> str:
    """The lowest name that could have been made at `at_ms`: every earlier one sorts below it."""
    return f"{prefix}_{_text(max(at_ms, 0) << _RANDOM_BITS)}"


def made_at_ms(name: str) -> int:
    """When a name was made, Unix time in milliseconds."""
    number = 0
    for digit in name.rpartition("_")[2]:
        number = number << 5 | _DIGITS.index(digit)
    return number >> _RANDOM_BITS
