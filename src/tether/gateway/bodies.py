"""Reading the body of a request, never more than allowed."""

from __future__ import annotations

from aiohttp import web

from tether.gateway.refusals import Refusal

__all__ = ["read_body"]


async def read_body(request: web.BaseRequest, most: int) -> bytes:
    """The request's body; raises Refusal over `most` bytes."""
    if (request.content_length or 0) > most:
        raise Refusal(413, "too_large", f"the request is larger than {most:,} bytes")
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise Refusal(413, "too_large", f"the request is larger than {most:,} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)
