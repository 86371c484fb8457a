"""Bodies: read within a size and a time, then strictly: bounded depth, no NUL, no lone surrogates, no infinite numbers."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tether.errors import ValidationError
from tether.web.problems import Refused

__all__ = ["MOST_DEPTH", "StrictRoute", "read", "strict_json"]

MOST_DEPTH = 64
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_OPENING = (b"[", b"{")


async def read(request: Request, most_bytes: int, within_s: float) -> bytes:
    """The whole body; raises Refused when it is too large or too slow."""
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most_bytes:
        raise Refused("too_large", f"the body has {told} bytes and {most_bytes:,} are taken; send large content as a file")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes:
                    raise Refused("too_large", f"the body has more than {most_bytes:,} bytes; send large content as a file")
                chunks.append(chunk)
    except TimeoutError:
        raise Refused("request_timeout", f"the body did not arrive within {within_s:g} s", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused("malformed", "the connection was closed before the body was complete") from None
    return b"".join(chunks)


def strict_json(body: bytes) -> Any:
    """The JSON value of a body; raises Refused naming what is wrong."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Refused("malformed", f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise Refused("malformed", f"the body is nested deeper than {MOST_DEPTH}") from None
    except ValueError as error:
        raise Refused("malformed", f"the body is not JSON: {error}") from None
    if sum(body.count(mark) for mark in _OPENING) > MOST_DEPTH:
        _check(value, lambda _text: None)
    if b"\0" in body or _SUSPECT.search(body):
        _check(value, _check_text)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _check(value: Any, check_text: Callable[[str], None]) -> None:
    """Walk a JSON value without recursion."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise Refused("malformed", f"the body is nested deeper than {MOST_DEPTH}")
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, dict):
            for key, inner in item.items():
                check_text(key)
                waiting.append((inner, depth + 1))
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in item)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refused("malformed", "a text of the body contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("malformed", "a text of the body contains a lone surrogate") from None


class _StrictRequest(Request):
    """A request whose JSON is read by the rules above."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            api = self.app.state.service.settings.api
            self._body = await read(self, api.max_body_kb * 1024, api.body_s)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = strict_json(await self.body())
        return self._json


def _query_names(dependant: Dependant) -> set[str]:
    """Of a route and all it depends on."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*map(_query_names, dependant.dependencies))


class StrictRoute(APIRoute):
    """A route that takes JSON and nothing else, and no parameter it does not know: a typing error must not mean "all"."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, on a stricter request."""
        inner = super().get_route_handler()
        takes_body = self.body_field is not None
        known = _query_names(self.dependant)

        async def strict(request: Request) -> Response:
            for name in request.query_params:
                if name not in known:
                    raise ValidationError(name, "is not a parameter of this", f"known are {', '.join(sorted(known)) or 'none'}")
            if takes_body:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json" and request.headers.get("content-length", "0") != "0":
                    raise Refused("unsupported_media_type", f"the body is {kind or 'of no type'}; send application/json")
            return await inner(_StrictRequest(request.scope, request.receive))

        return strict
