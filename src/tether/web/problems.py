"""RFC 9457: every answer that is not a success is a problem document with a stable `code`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tether import errors
from tether.errors import TetherError, ValidationError

__all__ = ["STATUSES", "Refused", "answer", "install", "problem", "status_of"]

log = logging.getLogger("tether.web")

#: HTTP status of each code. Codes of tether.errors first, then those of the API alone.
STATUSES: dict[str, int] = {
    "error": 500,
    "invalid": 422,
    "invalid_configuration": 500,
    "not_found": 404,
    "conflict": 409,
    "illegal_transition": 409,
    "idempotency_conflict": 422,
    "revision_conflict": 412,
    "not_authorised": 403,
    "budget_exceeded": 409,
    "unpriced_model": 422,
    "store_unavailable": 503,
    "store_too_new": 503,
    "server_unavailable": 503,
    "not_authenticated": 401,
    "malformed": 400,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "in_flight": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "internal": 500,
}
_TITLES = {
    400: "The request cannot be read",
    401: "A key is needed",
    403: "The key does not allow this",
    404: "There is no such thing",
    405: "The method is not allowed here",
    408: "The request came too slowly",
    409: "The task does not stand where this needs it",
    412: "It was changed meanwhile",
    413: "The body is too large",
    415: "The body has the wrong type",
    422: "A field is not acceptable",
    429: "Too many requests",
    500: "A fault of ours",
    503: "Not available now",
}
_BY_STATUS = {401: "not_authenticated", 403: "not_authorised", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_MEMBERS = (
    "field",
    "problem",
    "remedy",
    "what",
    "name",
    "key",
    "task_id",
    "state",
    "change",
    "limit",
    "used",
    "allowed",
    "model",
)


class Refused(HTTPException):
    """A refusal of the API's own, by its code."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.code = code
        super().__init__(STATUSES[code], detail, dict(headers or {}))


def problem(code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """A problem document as a response."""
    status = STATUSES[code]
    body = {"type": f"urn:tether:problem:{code}", "title": _TITLES[status], "status": status, "detail": detail, "code": code}
    text = json.dumps({**body, **members}, ensure_ascii=True, default=str)
    given = {"Cache-Control": "no-store", **(headers or {})}
    if status == 401:
        given.setdefault("WWW-Authenticate", "Bearer")
    if status == 503:
        given.setdefault("Retry-After", "2")
    return Response(text, status, given, "application/problem+json")


def status_of(error: TetherError) -> int:
    """The HTTP status of an error of Tether."""
    return STATUSES.get(error.code, 500)


def answer(error: TetherError) -> Response:
    """The problem of an error of Tether; what is our own fault is logged and not told."""
    if status_of(error) == 500:
        log.error("%s", error, exc_info=error)
        return problem("internal", "the server could not do this; its log says why")
    if isinstance(error, errors.StoreUnavailable):
        log.warning("%s", error)
        return problem(error.code, "the store cannot be used now; try again")
    members = {name: value for name in _MEMBERS if (value := getattr(error, name, None)) is not None}
    return problem(error.code, str(error), **members)


def install(app: FastAPI) -> None:
    """Make every error a problem."""
    handlers: dict[Any, Any] = {
        TetherError: _tether,
        RequestValidationError: _validation,
        HTTPException: _http,
        Exception: _fault,
    }
    for kind, how in handlers.items():
        app.add_exception_handler(kind, how)


async def _tether(_request: Request, error: TetherError) -> Response:
    return answer(error)


async def _validation(_request: Request, error: RequestValidationError) -> Response:
    first = cast("Mapping[str, Any]", error.errors()[0])
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    found = ValidationError(".".join(place) or str(first["loc"][0]), str(first["msg"]))
    return answer(found)


async def _http(_request: Request, error: HTTPException) -> Response:
    code = error.code if isinstance(error, Refused) else _BY_STATUS.get(error.status_code, "malformed")
    return problem(code, str(error.detail), dict(error.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem("internal", "the server could not do this; its log says why")
