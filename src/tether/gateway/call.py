"""A model call under way, and what became of one try of it."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from tether.gateway.admission import Admission, Bound
from tether.gateway.inference import Seen
from tether.gateway.meter import Hold
from tether.gateway.plan import Plan
from tether.gateway.prices import TokenUsage
from tether.gateway.taping import Tape

__all__ = ["Call", "Outcome"]


@dataclass(kw_only=True, eq=False)
class Call:
    """A call under way. id and hold change with every try; wait_s: seconds spent waiting for the server.

    seen: what the request tells of an agent that says nothing itself. tape: keeps the answer where it may be needed again.
    """

    admission: Admission
    request: web.BaseRequest
    bound: Bound
    plan: Plan
    raw: bytes
    final: bool
    id: str = ""
    hold: Hold
    started_at: float = 0.0
    wait_s: float = 0.0
    seen: Seen | None = None
    tape: Tape | None = None

    def ending(self) -> str:
        """How a call ends whose server did its part."""
        if self.admission.revoked:
            return "revoked"
        return "cut" if self.bound.gone else "ok"


@dataclass(kw_only=True, eq=False)
class Outcome:
    """What became of one try. usage None: settled at the hold, or at nothing when `refund`. dispatched: it reached the server."""

    result: str = "unknown"
    status: int | None = None
    usage: TokenUsage | None = None
    refund: bool = False
    dispatched: bool = True
    model: str | None = None
    finish: str | None = None
    error: str | None = None
