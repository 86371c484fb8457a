"""JSON on its way into a column and back: compact UTF-8, compressed when it is longer than 1 kB."""

from __future__ import annotations

import json
import zlib
from typing import Any

__all__ = ["pack", "plain", "unpack"]

_COMPRESS_FROM_BYTES = 1024
_ZLIB_MARK = b"x"  # the first byte of a zlib stream as we write it; JSON never starts with it
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def pack(value: Any) -> bytes:
    """Bytes of a JSON value. Raises TypeError or ValueError for what JSON cannot say."""
    data = _encode(value).encode("utf-8", "surrogatepass")
    return zlib.compress(data, 6) if len(data) > _COMPRESS_FROM_BYTES else data


def unpack(data: bytes | None) -> Any:
    """The value of packed bytes; None for None."""
    if data is None:
        return None
    raw = zlib.decompress(data) if data[:1] == _ZLIB_MARK else data
    return json.loads(raw.decode("utf-8", "surrogatepass"))


def plain(text: str, most: int = 4000) -> str:
    """Text as every database takes it: no NUL, no lone surrogates, at most `most` characters."""
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode()
