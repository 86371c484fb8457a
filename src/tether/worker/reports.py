"""What the gateway reports of attempts: calls and what they cost, refusals, calls it holds, Link requests of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from tether.task import usd_from_nano
from tether.worker.attempt import LiveAttempt
from tether.worker.conversation import Conversation
from tether.worker.holding import stopped
from tether.worker.loop import now_s
from tether.worker.parking import Parking
from tether.worker.surroundings import Surroundings

__all__ = ["Reports"]

_BUDGET_LIMITS = ("max_llm_calls", "max_usd", "max_web_requests", "max_tokens", "max_steps", "max_tool_calls")


class Live(Protocol):
    """The attempts that are here."""

    def all(self) -> Iterable[LiveAttempt]: ...

    def of_key(self, key: str) -> LiveAttempt | None: ...

    def conversation(self, attempt: LiveAttempt) -> Conversation: ...

    def flush(self, attempt: LiveAttempt) -> None: ...


class Reports:
    """Matches each report to its attempt."""

    def __init__(self, around: Surroundings, live: Live, parking: Parking) -> None:
        self._around = around
        self._live = live
        self._parking = parking

    def said(self, packet: dict[str, Any]) -> None:
        """Calls, refusals and Link requests of commands, as the gateway reports them."""
        attempt = self._live.of_key(str(packet.get("key")))
        if attempt is None or not attempt.is_live:
            return
        now, op = now_s(), packet.get("op")
        if op == "call_started":
            attempt.clocks.call_started(now)
            attempt.calls[str(packet.get("call_id"))] = {"model": packet.get("model"), "started_s": now}
        elif op == "call_ended":
            attempt.clocks.call_ended(now)
            attempt.calls.pop(str(packet.get("call_id")), None)
            self._spent(attempt, packet)
        elif op == "waiting":
            attempt.clocks.waiting(now, on=bool(packet.get("on")))
        elif op == "web":
            attempt.clocks.alive(now)
            self._counted(attempt, packet)
        elif op == "refused":
            self._refused(attempt, packet)
        elif op == "parked":
            self._parked(attempt, packet)
        elif op == "unparked":
            self._parking.dropped(attempt, str(packet.get("call_id")))
        elif op == "link":
            self._link_over_http(attempt, packet)
        self._live.conversation(attempt).traffic.take(packet, now)
        self._around.rearm(attempt)

    def _spent(self, attempt: LiveAttempt, packet: dict[str, Any]) -> None:
        """Keep the budget's figures fresh; a call that cost more than was held may have passed a limit."""
        counters = attempt.counters
        for name, (used, allowed) in (packet.get("used") or {}).items():
            counters = replace(counters, **{name: used, f"max_{name}": allowed})
        attempt.counters = counters
        for limit in packet.get("over") or ():
            used = {"max_usd": counters.nanousd, "max_tokens": counters.tokens}.get(limit, counters.llm_calls)
            allowed = {"max_usd": counters.max_nanousd, "max_tokens": counters.max_tokens}.get(limit, counters.max_llm_calls)
            if not attempt.may_park:  # otherwise its next call is held
                self._refused(attempt, {"limit": limit, "used": used, "allowed": allowed})

    def _counted(self, attempt: LiveAttempt, packet: dict[str, Any]) -> None:
        """A tunnel hides how many requests went through it: from now on the task's web requests are connections."""
        if packet.get("method") == "CONNECT" and attempt.agent.kind != "builtin" and attempt.web_counting != "connections":
            attempt.web_counting = "connections"
            self._around.journal.write(attempt.entry(web_counting="connections"))

    def _refused(self, attempt: LiveAttempt, packet: dict[str, Any]) -> None:
        """A call was refused; only for the budget, or for an operator's hold, the attempt ends."""
        if packet.get("limit") in _BUDGET_LIMITS:
            self._live.conversation(attempt).spending.used_up(*_amounts(packet))
        elif packet.get("limit") == "operator":
            self._live.conversation(attempt).spending.leave(stopped(attempt, self._around.holding.of(attempt)))

    def _parked(self, attempt: LiveAttempt, packet: dict[str, Any]) -> None:
        """The gateway holds a call; where it shall not be held it is refused after all."""
        call_id, limit = str(packet.get("call_id")), packet.get("limit")
        self._live.flush(attempt)  # whoever decides sees all it said
        if self._parking.of(attempt) is None and limit != "operator" and limit not in _BUDGET_LIMITS:
            self._around.gateway.tell({"op": "resume", "key": attempt.key})  # it was paused, and goes on since
        elif not self._parking.begin(attempt, call_id, *_amounts(packet)):
            self._around.gateway.tell({"op": "reject", "key": attempt.key, "why": "the attempt is ending"})
            self._refused(attempt, packet)

    def _link_over_http(self, attempt: LiveAttempt, packet: dict[str, Any]) -> None:
        def reply(answer: Any) -> None:
            self._around.gateway.tell({"op": "link_reply", "key": attempt.key, "id": packet.get("id"), "body": dict(answer)})

        body = packet.get("body")
        if isinstance(body, dict):
            self._live.conversation(attempt).take(body, reply)

    def lost(self, restart: Callable[[], None]) -> None:
        """The gateway died: its calls in flight are settled at their holds before the next gateway may make new ones."""
        for attempt in self._live.all():
            for call_id in tuple(attempt.calls):
                attempt.clocks.call_ended(now_s())
                attempt.calls.pop(call_id)
        tokens = [attempt.claim.lease_token for attempt in self._live.all()]
        self._around.journal.ask(lambda store: store.settle_orphans(lease_tokens=tokens), lambda _: restart())


def _amounts(packet: dict[str, Any]) -> tuple[str, float, float]:
    """Limit, used and allowed of a refusal, money in dollars."""
    limit, used, allowed = str(packet["limit"]), packet.get("used") or 0, packet.get("allowed") or 0
    return (limit, usd_from_nano(used), usd_from_nano(allowed)) if limit == "max_usd" else (limit, used, allowed)
