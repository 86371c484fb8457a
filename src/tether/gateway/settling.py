"""From what became of a try to what is settled and told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tether.events import NewEvent
from tether.gateway import meter
from tether.gateway.call import Call, Outcome
from tether.store.rows import Settle, Settled

__all__ = ["ended_packet", "settlement"]

_TOLD = ("call_id", "outcome", "status", "model", "input_tokens", "output_tokens", "nanousd", "context_window", "finish")
_LIMITED = ("llm_calls", "nanousd", "tokens")


def settlement(call: Call, outcome: Outcome, tool_prices: Mapping[str, int]) -> Settle:
    """The settlement of one try with its call_ended event: at usage, at nothing, or at the hold when nobody knows."""
    usage, plan = outcome.usage, call.plan
    if usage is not None:
        nanousd, settled = meter.price(usage, plan.sheet, tool_prices), "usage"
    else:
        nanousd, settled = (0, "refund") if outcome.refund else (None, "hold")
    unknown = 0 if outcome.refund else None
    facts: dict[str, Any] = {
        "outcome": outcome.result,
        "status": outcome.status,
        "input_tokens": usage.input if usage else unknown,
        "output_tokens": usage.output if usage else unknown,
        "context_window": plan.sheet.context_window,
    }
    ended = {
        **facts,
        "call_id": call.id,
        "model": outcome.model or plan.name,
        "cached_tokens": usage.cached if usage else None,
        "nanousd": call.hold.nanousd if nanousd is None else nanousd,
        "settled": settled,
        "took_ms": round((time.monotonic() - call.started_at) * 1000),
        "finish": outcome.finish,
        "error": outcome.error,
    }
    return Settle(
        **facts,
        task_id=call.admission.task_id,
        call_id=call.id,
        nanousd=nanousd,
        name=outcome.model or plan.name,
        dispatched=outcome.dispatched,
        event=NewEvent(type="call_ended", attempt=call.admission.attempt, data=ended),
    )


def ended_packet(call: Call, item: Settle, settled: Settled | None) -> dict[str, Any]:
    """What the supervisor is told; over: budget keys passed now, used: counter -> [used with holds, allowed]."""
    assert item.event is not None
    packet: dict[str, Any] = {"op": "call_ended", "key": call.admission.key, "wait_s": round(call.wait_s, 3)}
    packet |= {name: item.event.data[name] for name in _TOLD}
    if call.seen is not None:
        packet["talk"] = call.seen.talk
    if settled is not None:
        packet["over"] = list(settled.over)
        if settled.counters is not None:
            packet["used"] = {n: [getattr(settled.counters, n), getattr(settled.counters, f"max_{n}")] for n in _LIMITED}
    return packet
