"""Checks of values at the edge; each returns the value in its plain form or raises ValidationError naming the field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from tether.errors import ValidationError

__all__ = [
    "MAX_GOAL_CHARS",
    "NANO",
    "checked_count",
    "checked_json_value",
    "checked_name",
    "checked_schema",
    "checked_seconds",
    "checked_secrets",
    "checked_text",
    "checked_text_map",
    "checked_texts",
    "known_keys",
    "nano_from_usd",
    "rfc3339",
    "usd_from_nano",
]

NANO = 1_000_000_000
_MAX_COUNT = 10**9
_MAX_USD = 10**6
_MAX_SECONDS = 10 * 365 * 86400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}\Z")
MAX_GOAL_CHARS = 100_000
_MAX_JSON_BYTES = 1_000_000


def nano_from_usd(value: Any, field_name: str = "max_usd") -> int:
    """Nano-dollars of a dollar amount (int, float, Decimal or numeric string); at most 9 decimals are kept.

    Raises ValidationError naming `field_name` for anything that is not a finite amount from 0 to 1,000,000.
    """
    remedy = f"write dollars from 0 to {_MAX_USD:,}, for example 5.00"
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValidationError(field_name, f"is a {type(value).__name__}, not an amount", remedy)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValidationError(field_name, f"{value!r} is not a number", remedy) from None
    if not amount.is_finite():
        raise ValidationError(field_name, "must be finite", remedy)
    if amount < 0:
        raise ValidationError(field_name, "must not be negative", remedy)
    if amount > _MAX_USD:
        raise ValidationError(field_name, f"{value} is too large", remedy)
    return int((amount * NANO).to_integral_value())


def usd_from_nano(nano: int) -> float:
    """Dollars of a nano-dollar amount, exact to 9 decimals."""
    return round(nano / NANO, 9)


def rfc3339(at_ms: int | None) -> str | None:
    """RFC 3339 UTC text of a Unix time in milliseconds."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked_count(value: Any, name: str) -> int:
    """A whole number from 0 to 10^9. Raises ValidationError naming the field."""
    remedy = f"write a whole number from 0 to {_MAX_COUNT:,}"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(name, "must be finite; there is no unlimited", remedy)
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise ValidationError(name, f"{value!r} is not a whole number", remedy)
    if value < 0:
        raise ValidationError(name, "must not be negative", remedy)
    if value > _MAX_COUNT:
        raise ValidationError(name, f"{value} is too large", remedy)
    return int(value)


def checked_seconds(value: Any, name: str) -> float:
    """Seconds greater than 0, at most ten years. Raises ValidationError naming the field."""
    remedy = "write seconds greater than 0, at most ten years"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError(name, f"{value!r} is not a number of seconds", remedy)
    if not math.isfinite(value):
        raise ValidationError(name, "must be finite; there is no unlimited", remedy)
    if value <= 0:
        raise ValidationError(name, "must be greater than 0", remedy)
    if value > _MAX_SECONDS:
        raise ValidationError(name, f"{value} is too large", remedy)
    return float(value)


def known_keys(kind: type, value: Any, name: str) -> dict[str, Any]:
    """A mapping whose keys are all fields of `kind`. Raises ValidationError naming the field."""
    if not isinstance(value, Mapping):
        raise ValidationError(name, f"is a {type(value).__name__}, not a mapping", f"write {name}={{...}}")
    known = {f.name for f in fields(kind)}
    for key in cast("Mapping[Any, Any]", value):
        if key not in known:
            raise ValidationError(f"{name}.{key}", "is not a known key", f"known are {', '.join(sorted(known))}")
    return dict(cast("Mapping[str, Any]", value))


def checked_text(value: Any, name: str, *, most: int = 1000, allow_empty: bool = True) -> str:
    """Valid Unicode text of at most `most` characters, without NUL. Raises ValidationError naming the field."""
    if not isinstance(value, str):
        raise ValidationError(name, f"is a {type(value).__name__}, not text", f'write {name}="…"')
    if not allow_empty and not value.strip():
        raise ValidationError(name, "is empty", "say what is wanted")
    if len(value) > most:
        raise ValidationError(name, f"has {len(value):,} characters", f"at most {most:,} are taken")
    if "\0" in value:
        raise ValidationError(name, "contains a NUL character", "remove it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(name, "contains a lone surrogate", "send valid Unicode") from None
    return value


def checked_name(value: Any, name: str) -> str:
    """A name: letters, digits and . _ : / @ -, at most 128. Raises ValidationError naming the field."""
    text = checked_text(value, name, most=128)
    if not _NAME.match(text):
        raise ValidationError(name, f"{text!r} is not a name", "use letters, digits and . _ : / @ -, at most 128")
    return text


def checked_json_value(value: Any, name: str) -> Any:
    """A JSON value of at most 1 MB. Raises ValidationError naming the field."""
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(name, f"is not JSON ({error})", "use strings, finite numbers, lists and maps") from None
    if size > _MAX_JSON_BYTES:
        raise ValidationError(name, f"is {size:,} bytes of JSON", f"at most {_MAX_JSON_BYTES:,}; send a file instead")
    return value


def checked_text_map(value: Any, name: str) -> dict[str, str]:
    """A map of texts. Raises ValidationError naming the field."""
    if not isinstance(value, Mapping):
        raise ValidationError(name, f"is a {type(value).__name__}, not a mapping", f'write {name}={{"key": "text"}}')
    items = cast("Mapping[Any, Any]", value).items()
    return {checked_text(k, f"{name} key", most=128): checked_text(v, f"{name}.{k}", most=2000) for k, v in items}


def checked_texts(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts. Raises ValidationError naming the field."""
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise ValidationError(name, f"is a {type(value).__name__}, not a list", f'write {name}=["…"]')
    return tuple(checked_text(item, f"{name}[{i}]", most=200) for i, item in enumerate(cast("list[Any]", value)))


def checked_schema(value: Any) -> dict[str, Any] | None:
    """A JSON Schema, given as such or as a pydantic model class; or None. Raises ValidationError naming the field."""
    if value is None:
        return None
    if hasattr(value, "model_json_schema"):
        value = value.model_json_schema()
    if not isinstance(value, Mapping):
        raise ValidationError("result_schema", "is neither a JSON Schema nor a pydantic model", 'e.g. {"type": "object"}')
    return checked_json_value(dict(cast("Mapping[str, Any]", value)), "result_schema")


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_RESERVED = re.compile(
    r"(?i)(?:TETHER_|LD_|PYTHON|OPENAI_|ANTHROPIC_|(?:HTTPS?|NO|ALL)_PROXY\Z|(?:PATH|HOME|LANG|TZ|SHELL|IFS|ENV)\Z)"
)
_MOST_SECRETS = 50
_SHORTEST_SECRET = 6


def checked_secrets(value: Any) -> dict[str, str]:
    """Secrets by name. Raises ValidationError naming the field."""
    given = checked_text_map(value, "secrets") if not isinstance(value, Mapping) else dict(cast("Mapping[Any, Any]", value))
    if len(given) > _MOST_SECRETS:
        raise ValidationError("secrets", f"has {len(given)} entries", f"at most {_MOST_SECRETS} are taken")
    for name, secret in given.items():
        if not isinstance(name, str) or not _VARIABLE.match(name) or _RESERVED.match(name):
            raise ValidationError(
                "secrets", f"{name!r} cannot be used as a variable", "use letters, digits and _, no reserved name"
            )
        if len(checked_text(secret, f"secrets.{name}", most=16_000)) < _SHORTEST_SECRET:
            raise ValidationError(f"secrets.{name}", "is too short to be masked", f"use at least {_SHORTEST_SECRET} characters")
    return given
