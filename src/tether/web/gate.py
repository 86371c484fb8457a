"""The first thing a request meets: who asks, what can never be right, and the headers of every answer."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tether.errors import TetherError
from tether.web import logins
from tether.web.problems import Refused, answer, log, problem

if TYPE_CHECKING:
    from tether.web.access import Caller
    from tether.web.service import Service

__all__ = ["Gate", "is_open"]

_OPEN = re.compile(r"/(?:healthz|readyz|openapi\.json|login|logout|v1/links/[^/]+|l/[^/]+)?\Z")
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS: dict[bytes, bytes] = {
    b"content-security-policy": (
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return _OPEN.match(path) is not None


class Gate:
    """ASGI: authenticates before a body is read, and puts the security headers on whatever is answered."""

    def __init__(self, app: ASGIApp, service: Service, counts: Counter[tuple[str, int]]) -> None:
        self._app = app
        self._service = service
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts[(scope["method"], message["status"])] += 1
                have = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((n, v) for n, v in _HEADERS.items() if n not in have)]
            await send(message)

        refused = await self._refusal(scope)
        await (refused or self._app)(scope, receive, guarded)

    async def _refusal(self, scope: Scope) -> Response | None:
        path: str = scope["path"]
        if b"%00" in scope["query_string"] or "\0" in path:
            return problem("malformed", "the address contains a NUL character")
        scope.setdefault("state", {})
        try:
            caller = await self._caller(scope)
        except Refused as error:
            return problem(error.code, str(error.detail), error.headers)
        except TetherError as error:
            return answer(error)
        except Exception as error:
            log.error("a key could not be checked", exc_info=error)
            return problem("internal", "the server could not do this; its log says why")
        scope["state"]["caller"] = caller
        if caller is None and not is_open(path):
            return problem("not_authenticated", "send a key: Authorization: Bearer tth_…; `tether keys create` makes one")
        return None

    async def _caller(self, scope: Scope) -> Caller | None:
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else ""
        given = headers.get("authorization", "")
        if given:
            kind, _, token = given.partition(" ")
            return await self._service.access.caller(token.strip(), address) if kind.lower() == "bearer" else None
        login = logins.read(self._service.vault, headers.get("cookie", ""))
        if login is None:
            return None
        if scope["method"] not in _SAFE and not logins.own_page(self._service.vault, login, headers):
            raise Refused("not_authenticated", "a request with a login needs the X-CSRF-Token of the page, from the same origin")
        return await self._service.access.caller_of_key(login.key_id, address)
