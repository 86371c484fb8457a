"""Setting the bound of a call aside before it is made: whole, smaller, or as soon as calls in flight leave room."""

from __future__ import annotations

import os

from tether.errors import StoreUnavailable
from tether.events import NewEvent
from tether.gateway import meter
from tether.gateway.call import Call
from tether.gateway.ledger import Ledger
from tether.gateway.refusals import PAYMENT_REQUIRED, Refusal, held, no_room, store_away
from tether.store.rows import Refused, Reserve

__all__ = ["reserve"]

_MODEST_OUTPUT = 8192  # asked for when the caller named no maximum and the model's own does not fit beside other calls
_LIMITS_WITH_SIZE = ("max_usd", "max_tokens")


async def reserve(call: Call, ledger: Ledger, min_output: int) -> None:
    """Reserve the call under a new id; its hold is then what it may use. Raises Refusal."""
    call.hold = call.plan.full
    while True:
        if call.admission.revoked:
            raise Refusal(PAYMENT_REQUIRED, "revoked", f"this attempt is over: {call.admission.revoked}", limit="revoked")
        call.id = f"call_{os.urandom(9).hex()}"
        if call.admission.held is not None:
            raise held(call.admission.held)
        try:
            granted = await ledger.reserve(_reservation(call))
        except StoreUnavailable as error:
            raise store_away(error) from None
        if not isinstance(granted, Refused):
            call.admission.in_flight += 1
            return
        smaller = _smaller(call, granted, min_output)
        if smaller is None:
            await _room(call, granted)
        call.hold = smaller or call.plan.full


def _smaller(call: Call, refused: Refused, min_output: int) -> meter.Hold | None:
    """A hold that may fit; None where it cannot, or where waiting for calls in flight is better than a shorter answer."""
    plan = call.plan
    if refused.limit not in _LIMITS_WITH_SIZE:
        return None
    if plan.ask.wanted_output is None and call.hold.max_output > _MODEST_OUTPUT:
        return meter.hold(plan.ask, plan.sheet, plan.full.input_bound, _MODEST_OUTPUT, plan.tool_nanousd)
    if call.admission.in_flight:
        return None
    left = meter.Left(nanousd=refused.left_nanousd, tokens=refused.left_tokens)
    clamped = meter.clamp(plan.ask, plan.sheet, plan.full, left, min_output, plan.tool_nanousd)
    return clamped if clamped != call.hold else None


async def _room(call: Call, refused: Refused) -> None:
    """Wait for a settlement when only calls in flight stand in the way; raises Refusal otherwise."""
    if refused.limit not in _LIMITS_WITH_SIZE or not call.admission.in_flight:
        raise no_room(refused)
    await call.admission.next_settlement()


def _reservation(call: Call) -> Reserve:
    plan, hold, admission = call.plan, call.hold, call.admission
    started = NewEvent(
        type="call_started",
        attempt=admission.attempt,
        data={
            "call_id": call.id,
            "route": plan.ask.route,
            "model": plan.ask.model or plan.name,
            "upstream": plan.model.alias,
            "hold_nanousd": hold.nanousd,
            "prompt_tokens_bound": hold.input_bound,
            "max_output": hold.max_output,
            "streamed": plan.ask.streamed,
        },
    )
    return Reserve(
        kind="llm",
        task_id=admission.task_id,
        lease_token=admission.lease_token,
        attempt=admission.attempt,
        call_id=call.id,
        name=plan.name,
        hold_nanousd=hold.nanousd,
        hold_tokens=hold.tokens,
        event=started,
        final=call.final,
    )
