"""The ordinary submission, the one request that comes by the hundred a second, without what the framework does for any route.

It succeeds, or refuses by the same checks: whatever is unusual about a request or wrong with its body goes the usual way, body
and all, so the route stays the one description of what is taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError as Invalid
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tether.errors import TetherError
from tether.web.bodies import read, strict_json
from tether.web.problems import Refused, answer, problem
from tether.web.routes.tasks import accept, accepted
from tether.web.schemas.tasks import TaskIn

if TYPE_CHECKING:
    from tether.web.access import Caller
    from tether.web.service import Service

__all__ = ["Shortcut"]

_KEY = re.compile(r"[\x21-\x7e]{0,255}\Z")


class Shortcut:
    """ASGI; stands behind the gate, which found out who asks."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/v1/tasks" or not _is_ordinary(scope):
            await self._app(scope, receive, send)
            return
        api, body = self._service.settings.api, b""
        try:
            body = await read(Request(scope, receive), api.max_body_kb * 1024, api.body_s)
            response = await self._submitted(scope, body)
        except Refused as error:
            response = problem(error.code, str(error.detail), error.headers)
        except TetherError as error:
            response = answer(error)
        await (response or self._app)(scope, _again(body, receive), send)

    async def _submitted(self, scope: Scope, body: bytes) -> Response | None:
        """None: nothing was done yet, and the body is to be refused by the route."""
        try:
            task = TaskIn.model_validate(strict_json(body))
        except (Invalid, Refused):
            return None
        caller: Caller = scope["state"]["caller"]
        stored, replayed = await accept(self._service, task, caller, Headers(scope=scope).get("idempotency-key") or None)
        return accepted(stored, replayed)


def _is_ordinary(scope: Scope) -> bool:
    """JSON from somebody who may submit, without a parameter or a wish to wait."""
    headers = Headers(scope=scope)
    caller: Caller | None = scope.get("state", {}).get("caller")
    return (
        not scope["query_string"]
        and headers.get("content-type") == "application/json"
        and "prefer" not in headers
        and _KEY.match(headers.get("idempotency-key", "")) is not None
        and caller is not None
        and "submit" in caller.scopes
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already once more."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give
