"""The link of a command agent over HTTP: POST /link/… is carried to the supervisor and its answer back."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tether.errors import ValidationError
from tether.gateway.admission import Admission
from tether.gateway.bodies import read_body
from tether.gateway.refusals import BAD_REQUEST, NOT_FOUND, Refusal
from tether.task import nano_from_usd

__all__ = ["Links"]

_OPS = {
    "checkpoint": "checkpoint",
    "partial": "partial",
    "ask": "ask",
    "step": "step_started",
    "charge": "charge",
    "result": "result",
}
_MOST_BYTES = 8 * 1024 * 1024
_STATUS = {"budget": 402, "invalid_result": 422, "too_large": 413}


class Links:
    """Requests under way to the supervisor, by number; they end with its reply or with the attempt."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def serve(self, admission: Admission, request: web.BaseRequest) -> web.StreamResponse:
        """Carry one request; the answer may take as long as a human (the supervisor ends the attempt then). Raises Refusal."""
        op = _OPS.get(request.path.removeprefix("/link/"))
        if op is None:
            raise Refusal(
                NOT_FOUND, "unknown_route", f"the link has {', '.join(f'/link/{name}' for name in _OPS)}", limit="route"
            )
        message = _message(op, await read_body(request, _MOST_BYTES))
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        admission.endings.append(future.cancel)
        self._tell({"op": "link", "key": admission.key, "id": number, "body": message})
        try:
            answer = await future
        except asyncio.CancelledError:
            if not admission.revoked:
                raise
            raise Refusal(402, "revoked", f"this attempt is over: {admission.revoked}", limit="revoked") from None
        finally:
            self._waiting.pop(number, None)
            if future.cancel in admission.endings:
                admission.endings.remove(future.cancel)
        status = 200 if answer.get("ok", True) else _STATUS.get(str(answer.get("reason")), 409)
        return web.json_response(answer, status=status)

    def reply(self, packet: dict[str, Any]) -> None:
        """The supervisor's answer to one of them."""
        future = self._waiting.get(packet.get("id", 0))
        if future is not None and not future.done():
            future.set_result(packet.get("body") or {})


def _message(op: str, raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refusal(BAD_REQUEST, "invalid_request", "body: is not a JSON object")
    if "usd" in body:
        try:
            body["nanousd"] = nano_from_usd(body.pop("usd"), "usd")
        except ValidationError as error:
            raise Refusal(BAD_REQUEST, "invalid_request", str(error)) from None
    return {**body, "op": op}
