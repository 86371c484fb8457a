"""Calls that wait instead of being refused, because their agent could not go on after a refusal: a future each, no thread.

The supervisor is told of each; it pauses the task, and answers `resume` or `reject` once a human decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tether.gateway.refusals import PAYMENT_REQUIRED, Refusal

__all__ = ["Held", "Parked", "Parking", "Policy", "fingerprint"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What happens over budget; an agent that can checkpoint is refused, any other one waits for a human's decision.

    records: answers are kept for another attempt. replays: what was kept is given again.
    """

    on_budget_exceeded: str = "checkpoint_and_pause"
    can_checkpoint: bool = True
    records: bool = False
    replays: bool = False

    def parks(self, refusal: Refusal) -> bool:
        """Whether a call refused for this waits instead: over budget as the task says, stopped or paused always."""
        over = refusal.code == "budget_exceeded" and self.on_budget_exceeded == "checkpoint_and_pause"
        return not self.can_checkpoint and (over or refusal.code in ("held", "paused"))


@dataclass(kw_only=True, eq=False)
class Held:
    """One call that is held, and how many requests of the client wait for it (its retries join)."""

    call_id: str
    waiting: int = 0


@dataclass(kw_only=True, eq=False)
class Parked:
    """The held calls of one attempt, by the fingerprint of their request; verdict: None to try again, else the refusal."""

    verdict: asyncio.Future[Refusal | None]
    calls: dict[str, Held] = field(default_factory=dict[str, Held])


def fingerprint(route: str, raw: bytes) -> str:
    """The same for the same request (JSON, whatever the order of its keys), by which a retry or another attempt is known."""
    with contextlib.suppress(ValueError):
        raw = json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(route.encode() + b"\n" + raw).hexdigest()


class Parking:
    """Holds the calls of all attempts, of at most `most` attempts at a time. tell: sends a packet to the supervisor.

    rejoin_s: seconds until a held call whose client left counts as dropped; a retry within them joins it.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None], *, most: int, rejoin_s: float) -> None:
        self._tell = tell
        self._most = most
        self._rejoin_s = rejoin_s
        self._parked: dict[str, Parked] = {}

    async def hold(self, key: str, policy: Policy, call_id: str, place: str, refusal: Refusal, left: asyncio.Event) -> None:
        """Return once the call may be tried again. Raises Refusal: it may not wait, or not go on; TimeoutError: `left`."""
        if not policy.parks(refusal):
            raise refusal
        parked = self._parked.get(key)
        if parked is None:
            if len(self._parked) >= self._most:
                raise refusal
            parked = self._parked[key] = Parked(verdict=asyncio.get_running_loop().create_future())
        held = parked.calls.get(place)
        if held is None:
            held = parked.calls[place] = Held(call_id=call_id)
            facts = {"limit": refusal.limit, "used": refusal.used, "allowed": refusal.allowed}
            self._tell({"op": "parked", "key": key, "call_id": call_id, **facts})
        held.waiting += 1
        try:
            verdict = await _first(parked.verdict, left)
        finally:
            held.waiting -= 1
            if not held.waiting and not parked.verdict.done():
                asyncio.get_running_loop().call_later(self._rejoin_s, self._drop, key, parked, place)
        if verdict is not None:
            raise verdict

    def resume(self, key: str) -> None:
        """The held calls of an attempt are tried again."""
        self._decide(key, None)

    def reject(self, key: str, why: str) -> None:
        """The held calls of an attempt are refused."""
        self._decide(key, Refusal(PAYMENT_REQUIRED, "rejected", f"a human decided not to go on: {why}; end this turn"))

    def end(self, key: str) -> None:
        """The attempt is over."""
        self._decide(key, Refusal(PAYMENT_REQUIRED, "revoked", "this attempt is over", limit="revoked"))

    def _decide(self, key: str, verdict: Refusal | None) -> None:
        parked = self._parked.pop(key, None)
        if parked is not None:
            parked.verdict.set_result(verdict)

    def _drop(self, key: str, parked: Parked, place: str) -> None:
        """The client left for good: nobody waits for this call any more."""
        held = parked.calls.get(place)
        if held is None or held.waiting or parked.verdict.done():
            return
        del parked.calls[place]
        self._tell({"op": "unparked", "key": key, "call_id": held.call_id, "outcome": "dropped"})


async def _first(verdict: asyncio.Future[Refusal | None], left: asyncio.Event) -> Refusal | None:
    """The verdict, or TimeoutError when the client left before."""
    leaving = asyncio.ensure_future(left.wait())
    try:
        await asyncio.wait((verdict, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if not verdict.done():
        raise TimeoutError
    return verdict.result()
