"""Reading the body of a request, never more than allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from tether.gateway.admission import Admission
from tether.gateway.refusals import Refusal

__all__ = ["held_body", "read_body"]

_MOST_HELD = 64 * 1024 * 1024  # of one attempt at a time: the gateway's memory is everybody's


@asynccontextmanager
async def held_body(admission: Admission, request: web.BaseRequest, most: int) -> AsyncGenerator[bytes]:
    """The request's body while it is needed; raises Refusal when it, or all bodies of the attempt together, are too large."""
    raw = await read_body(request, most)
    if admission.body_bytes + len(raw) > _MOST_HELD:
        raise Refusal(413, "too_large", f"the attempt's requests under way are larger than {_MOST_HELD:,} bytes together")
    admission.body_bytes += len(raw)
    try:
        yield raw
    finally:
        admission.body_bytes -= len(raw)


async def read_body(request: web.BaseRequest, most: int) -> bytes:
    """The request's body; raises Refusal over `most` bytes."""
    if (request.content_length or 0) > most:
        raise Refusal(413, "too_large", f"the request is larger than {most:,} bytes")
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise Refusal(413, "too_large", f"the request is larger than {most:,} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)
