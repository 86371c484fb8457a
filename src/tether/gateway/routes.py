"""What a listener of an attempt answers: the model routes, the list of models, the link of a command; all else is refused."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tether.events import NewEvent
from tether.gateway.admission import Admission, Listener
from tether.gateway.calls import Calls
from tether.gateway.ledger import Ledger
from tether.gateway.links import Links
from tether.gateway.options import GatewayOptions
from tether.gateway.refusals import NOT_FOUND, ROUTES, Refusal, body, shown
from tether.store.rows import Append

__all__ = ["Routes"]

log = logging.getLogger("tether.gateway")
_CALLS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
_NOTE_EVERY_S = 1.0  # a client that retries a refusal for minutes must stay cheap
_NEVER_AGAIN = {"x-should-retry": "false"}
_JSON = {"Content-Type": "application/json"}


class Routes:
    """Serves the requests of all attempts; which attempt a request belongs to is the listener's knowledge, not the caller's."""

    def __init__(
        self, options: GatewayOptions, calls: Calls, links: Links, ledger: Ledger, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._options = options
        self._calls = calls
        self._links = links
        self._ledger = ledger
        self._tell = tell

    def listener(self, admission: Admission) -> Listener:
        """A listener that serves this attempt; listen() comes next."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            return await self._serve(admission, listener, request)

        listener = Listener(serve, self._options.drain_s)
        return listener

    async def _serve(self, admission: Admission, listener: Listener, request: web.BaseRequest) -> web.StreamResponse:
        try:
            _authorise(admission, request)
            return await self._route(admission, listener, request)
        except Refusal as refusal:
            self.note(admission, refusal)
            headers = _JSON if refusal.status == 503 else _JSON | _NEVER_AGAIN
            return web.Response(status=refusal.status, body=body(refusal, request.path == "/v1/messages"), headers=headers)
        except TimeoutError:  # the client left long ago
            return web.Response(status=499)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed in the gateway", request.method, request.path)
            failure = Refusal(500, "internal_error", "the gateway failed at this request; its log says how")
            return web.Response(status=500, body=body(failure, request.path == "/v1/messages"), headers=_JSON)

    def _route(self, admission: Admission, listener: Listener, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        call = _CALLS.get(request.path)
        if call is not None and request.method == "POST":
            return self._calls.serve(admission, listener, request, call)
        if request.path == "/v1/models" and request.method == "GET":
            return self._models()
        if request.path.startswith("/link/") and request.method == "POST":
            return self._links.serve(admission, request)
        routes = ", ".join(ROUTES)
        raise Refusal(
            NOT_FOUND, "unknown_route", f"{request.method} {request.path} is not metered; there are {routes}", limit="route"
        )

    async def _models(self) -> web.StreamResponse:
        """The configured aliases, readable by the clients of both vendors."""
        aliases = sorted(self._options.models)
        data = [
            {
                "id": alias,
                "object": "model",
                "created": 0,
                "owned_by": "tether",
                "type": "model",
                "display_name": alias,
                "created_at": "1970-01-01T00:00:00Z",
            }
            for alias in aliases
        ]
        page = {"first_id": aliases[0] if aliases else None, "last_id": aliases[-1] if aliases else None, "has_more": False}
        return web.json_response({"object": "list", "data": data, **page})

    def note(self, admission: Admission, refusal: Refusal) -> None:
        """Journal a refusal and tell the supervisor, each kind at most once a second."""
        admission.refusals += 1
        now = time.monotonic()
        kind = (refusal.code, refusal.limit)
        if now - admission.refusals_noted.get(kind, -math.inf) < _NOTE_EVERY_S:
            return
        facts = {"limit": refusal.limit, "used": refusal.used, "allowed": refusal.allowed, "message": str(refusal)}
        self._tell({"op": "refused", "key": admission.key, "code": refusal.code, **facts})
        amounts = {"used": shown(refusal.limit, refusal.used), "allowed": shown(refusal.limit, refusal.allowed)}
        data = {**facts, **amounts, "repeats": admission.refusals - 1}
        event = NewEvent(type="call_refused", attempt=admission.attempt, data=data)
        self._ledger.append(Append(task_id=admission.task_id, events=(event,)))
        admission.refusals, admission.refusals_noted[kind] = 0, now


def _authorise(admission: Admission, request: web.BaseRequest) -> None:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("x-api-key", ""))
    if not any(token and admission.knows(token) for token in given):
        raise Refusal(401, "wrong_token", "this listener belongs to another attempt, or the token is wrong", limit="policy")
    if admission.revoked:
        raise Refusal(402, "revoked", f"this attempt is over: {admission.revoked}", limit="revoked")
