"""What a caller is told when a call is not made: the bodies of both vendors, never a Retry-After, never a reason to retry.

402 with x-should-retry: false is the one answer that no vendor's client tries again.
"""

from __future__ import annotations

import json
from typing import Any

from tether.errors import StoreUnavailable, UnpricedModel
from tether.store.rows import Refused
from tether.task import usd_from_nano

__all__ = ["BAD_REQUEST", "ROUTES", "Refusal", "body", "held", "no_room", "shown", "sse_error", "store_away", "unpriced"]

BAD_REQUEST, PAYMENT_REQUIRED, NOT_FOUND = 400, 402, 404
ROUTES = (
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /v1/messages",
    "GET /v1/models",
    "POST /link/{checkpoint,partial,ask,step,charge,result}",
)


class Refusal(Exception):
    """A call that is not made.

    limit: for the journal, a budget key or route, policy, unpriced_model, revoked, operator, store.
    used, allowed: max_usd in nano-dollars.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        limit: str = "policy",
        used: int | None = None,
        allowed: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.limit = limit
        self.used = used
        self.allowed = allowed


def shown(limit: str, amount: int | None) -> float | None:
    """An amount of a limit as people read it: money in dollars."""
    return usd_from_nano(amount) if amount is not None and limit == "max_usd" else amount


def no_room(refused: Refused) -> Refusal:
    """The refusal of a call the store has no room for."""
    limit, used, allowed = refused.limit, refused.used, refused.allowed
    if limit in ("lease", "call_id"):
        return Refusal(PAYMENT_REQUIRED, "revoked", "this attempt is over: its lease is gone", limit="revoked")
    if limit == "paused":
        return Refusal(PAYMENT_REQUIRED, "paused", "the task is paused; do not retry, end this turn")
    spent = f"{limit} is {shown(limit, allowed):,g} and {shown(limit, used):,g} is used or reserved"
    text = f"the task's budget is used up: {spent}; do not retry, end this turn"
    return Refusal(PAYMENT_REQUIRED, "budget_exceeded", text, limit=limit, used=used, allowed=allowed)


def held(note: str) -> Refusal:
    """The refusal of a call while an operator holds them."""
    text = f"calls are stopped by an operator: {note}; do not retry, end this turn"
    return Refusal(PAYMENT_REQUIRED, "held", text, limit="operator")


def store_away(error: StoreUnavailable) -> Refusal:
    """The refusal of a call that cannot be recorded; the one that may be tried again."""
    return Refusal(503, "store_unavailable", f"the store cannot be written now: {error}", limit="store")


def unpriced(error: UnpricedModel) -> Refusal:
    """The refusal of a model nobody knows the price of."""
    return Refusal(BAD_REQUEST, "unpriced_model", str(error), limit="unpriced_model")


def body(refusal: Refusal, anthropic: bool) -> bytes:
    """The error document in the shape the caller's client reads."""
    return json.dumps(_document(refusal.status, refusal.code, str(refusal), anthropic)).encode()


def sse_error(code: str, message: str, anthropic: bool) -> bytes:
    """An error in mid-stream: a bare cut would pass for the end of the text."""
    document = _document(PAYMENT_REQUIRED, code, message, anthropic)
    head = "event: error\n" if anthropic else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


def _document(status: int, code: str, message: str, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        return {"type": "error", "error": {"type": _ANTHROPIC.get(status, "api_error"), "message": f"{code}: {message}"}}
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
}
