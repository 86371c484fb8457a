"""One model call from request to settlement: read, plan, reserve, send (and send again), relay, settle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from tether.gateway.admission import Admission, Listener
from tether.gateway.asks import read_ask
from tether.gateway.bodies import held_body
from tether.gateway.call import Call, Outcome
from tether.gateway.inference import SeenTool
from tether.gateway.ledger import Ledger
from tether.gateway.options import GatewayOptions
from tether.gateway.parking import Parking, fingerprint
from tether.gateway.plan import Plan, make_plan, outgoing
from tether.gateway.prices import PriceList
from tether.gateway.refusals import Refusal
from tether.gateway.relay import passed_down, relay_plain, relay_stream
from tether.gateway.replay import Replays, tape_of
from tether.gateway.reserving import reserve
from tether.gateway.settling import ended_packet, settlement
from tether.gateway.upstream import RETRYABLE, NotSent, Unanswered, Upstreams, backoff_s
from tether.store.rows import Settle, Settled

__all__ = ["Calls"]

_MOST_ERROR_BYTES = 256 * 1024
_NO_RETRY = {"x-should-retry": "false"}
_STORE_LOOK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A try without an answer to relay; `again`: another one may help."""

    response: web.Response
    again: bool
    retry_after: str | None = None


class Calls:
    """Makes the calls of all attempts. tell: sends a packet to the supervisor."""

    def __init__(
        self,
        options: GatewayOptions,
        prices: PriceList,
        ledger: Ledger,
        upstreams: Upstreams,
        parking: Parking,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._options = options
        self._prices = prices
        self._ledger = ledger
        self._upstreams = upstreams
        self._parking = parking
        self._replays = Replays(ledger)
        self._tell = tell

    async def serve(self, admission: Admission, listener: Listener, request: web.BaseRequest, route: str) -> web.StreamResponse:
        """Answer a request for a model call. Raises Refusal."""
        async with held_body(admission, request, self._options.max_body_bytes) as raw:
            plan = self._plan(admission, request, route, raw)
            final = request.headers.get("x-tether-final") == "1"
            async with listener.bounded(request) as bound:
                call = Call(admission=admission, request=request, bound=bound, plan=plan, raw=raw, final=final, hold=plan.full)
                call.tape = tape_of(admission, route, raw)
                replayed = await self._replays.answer(call)
                return await self._until_answered(call) if replayed is None else replayed

    def _plan(self, admission: Admission, request: web.BaseRequest, route: str, raw: bytes) -> Plan:
        options = self._options
        ask = read_ask(route, raw, long_prompt="context-1m" in request.headers.get("anthropic-beta", ""))
        return make_plan(ask, options.models, admission.model_default, self._prices, options.tool_prices)

    async def _until_answered(self, call: Call) -> web.StreamResponse:
        retry = self._options.retry
        tries = 0
        while True:
            tries += 1
            await self._reserve(call)
            self._started(call)
            answer = await self._try(call)
            if not isinstance(answer, Failed):
                return answer
            if not answer.again or tries >= retry.tries or call.bound.gone or call.admission.revoked:
                return answer.response
            await self._wait(call, backoff_s(retry, tries, answer.retry_after))

    async def _reserve(self, call: Call) -> None:
        """Reserve room; what is over budget or stopped waits for a human, anything for a store that is away (store_wait_s)."""
        until_s = time.monotonic() + self._options.store_wait_s
        while True:
            try:
                return await reserve(call, self._ledger, self._options.min_output)
            except Refusal as error:
                refusal = error
            if refusal.limit != "store":
                await self._park(call, refusal)
            elif time.monotonic() < until_s and not call.bound.gone and not call.admission.revoked:
                await self._wait(call, _STORE_LOOK_S)
            else:
                raise refusal

    async def _park(self, call: Call, refusal: Refusal) -> None:
        """Hold a call until a human decided. Raises Refusal where it may not be held."""
        admission, place = call.admission, fingerprint(call.plan.ask.route, call.raw)
        self._replays.held(admission, place, call.id)
        if admission.traffic is not None:  # whoever decides is told of every tool call that would happen again
            self._tell_tools(admission.key, *admission.traffic.ended(call.plan.ask.route, call.plan.ask.body))
        await self._parking.hold(admission.key, admission.policy, call.id, place, refusal, call.bound.left)

    async def _wait(self, call: Call, delay_s: float) -> None:
        """Wait for the server; the supervisor stops the step's clock meanwhile."""
        admission = call.admission
        call.wait_s += delay_s
        admission.waiting += 1
        if admission.waiting == 1:
            self._tell({"op": "waiting", "key": admission.key, "on": True})
        try:
            await asyncio.sleep(delay_s)
        finally:
            admission.waiting -= 1
            if admission.waiting == 0:
                self._tell({"op": "waiting", "key": admission.key, "on": False})

    def _tell_seen(self, call: Call) -> None:
        """A request that went through tells what its agent does; told before the call, so that it belongs to its step."""
        admission, plan = call.admission, call.plan
        if admission.traffic is None or call.seen is not None:
            return
        call.seen = admission.traffic.see(plan.ask.route, plan.ask.body, call.raw)
        if call.seen is None:
            return
        seen, key = call.seen, admission.key
        self._tell_tools(key, seen.talk, seen.tools)
        self._tell({"op": "step_seen", "key": key, "talk": seen.talk, "grew": seen.grew, "thought": seen.thought})

    def _tell_tools(self, key: str, talk: str, tools: Sequence[SeenTool]) -> None:
        for tool in tools:
            self._tell({"op": "tool_seen", "key": key, "talk": talk, **tool.document()})

    def _started(self, call: Call) -> None:
        self._tell_seen(call)
        call.started_at = time.monotonic()
        self._tell({"op": "call_started", "key": call.admission.key, "call_id": call.id, "model": call.plan.name, "step": None})

    async def _try(self, call: Call) -> web.StreamResponse | Failed:
        plan = call.plan
        outcome = Outcome()
        try:
            if call.bound.gone or call.admission.revoked:
                raise NotSent("the client left")
            body = outgoing(plan, call.hold, call.raw)
            async with self._upstreams.send(plan.model, plan.ask.route, body, call.request.headers) as response:
                outcome.status = response.status
                if not 200 <= response.status < 300:
                    return await _refused_upstream(response, outcome)
                if response.content_type == "text/event-stream":
                    return await relay_stream(call, response, outcome, self._options.drain_bytes)
                return await relay_plain(call, response, outcome)
        except NotSent as error:
            outcome.refund, outcome.dispatched = True, False
            return _unreachable(outcome, f"model {plan.model.alias!r}: its server cannot be reached: {error}", again=True)
        except Unanswered as error:
            return _unreachable(outcome, f"model {plan.model.alias!r}: no whole answer: {error}", again=outcome.status is None)
        finally:
            self._settle(call, outcome)

    def _settle(self, call: Call, outcome: Outcome) -> None:
        if outcome.result == "unknown" and (call.bound.gone or call.admission.revoked):
            outcome.result = call.ending()
        self._replays.keep(call)
        item = settlement(call, outcome, self._options.tool_prices)
        self._ledger.settle(item).add_done_callback(lambda future: self._settled(call, item, future))

    def _settled(self, call: Call, item: Settle, future: asyncio.Future[Settled]) -> None:
        call.admission.settled_one()
        failed = future.cancelled() or future.exception() is not None
        self._tell(ended_packet(call, item, None if failed else future.result()))


async def _refused_upstream(response: aiohttp.ClientResponse, outcome: Outcome) -> Failed:
    """The server said no before it generated anything."""
    outcome.result, outcome.refund = "upstream_error", True
    body = b""
    with contextlib.suppress(Unanswered):
        body = await Upstreams.whole(response, _MOST_ERROR_BYTES)
    outcome.error = body[:500].decode("utf-8", "replace")
    status = response.status if response.status >= 400 else 502
    again = response.status in RETRYABLE
    headers = passed_down(response) | (_NO_RETRY if again else {})
    answer = web.Response(status=status, body=body, headers=headers)
    return Failed(response=answer, again=again, retry_after=response.headers.get("Retry-After"))


def _unreachable(outcome: Outcome, message: str, again: bool) -> Failed:
    outcome.result = "upstream_error" if outcome.status is None else "cut"
    outcome.error = message
    document = {"error": {"message": message, "type": "upstream_unavailable", "code": "upstream_unavailable", "param": None}}
    headers = _NO_RETRY if again else {}
    return Failed(response=web.json_response(document, status=502, headers=headers), again=again)
