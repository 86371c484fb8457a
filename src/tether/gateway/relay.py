"""Passing the server's answer to the agent, whole or as a stream, and reading its usage on the way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import aiohttp
from aiohttp import web
from pydantic_core import from_json

from tether.gateway import schema_tools
from tether.gateway.answers import EventMeter, finish_of, usage_of
from tether.gateway.call import Call, Outcome
from tether.gateway.refusals import sse_error
from tether.gateway.upstream import Unanswered, Upstreams

__all__ = ["passed_down", "relay_plain", "relay_stream"]

_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_PASSED_DOWN = ("request-id", "x-request-id", "openai-", "anthropic-", "x-ratelimit-")


async def relay_plain(call: Call, response: aiohttp.ClientResponse, outcome: Outcome) -> web.StreamResponse:
    """The whole answer. Raises Unanswered when it is cut."""
    body = await Upstreams.whole(response, _MOST_ANSWER_BYTES)
    document = _document(body)
    outcome.usage = usage_of(document)
    outcome.model, outcome.finish = document.get("model"), finish_of(document)
    outcome.result = call.ending()
    headers = passed_down(response)
    if call.plan.schema:
        restored = schema_tools.restore(document)
        body = json.dumps(restored).encode()
        if call.plan.ask.streamed:
            headers["Content-Type"] = "text/event-stream"
            body = schema_tools.events(restored, call.plan.ask.wants_usage)
    if call.tape is not None and document:
        call.tape.content_type, call.tape.whole = headers["Content-Type"], True
        call.tape.add(body)
    return web.Response(status=response.status, body=body, headers=headers)


async def relay_stream(call: Call, response: aiohttp.ClientResponse, outcome: Outcome, drain_bytes: int) -> web.StreamResponse:
    """The stream as it comes; a cut ends in an error event, never in silence."""
    events = EventMeter(strip=not call.plan.ask.wants_usage)
    down = web.StreamResponse(status=response.status, headers=passed_down(response))
    try:
        await _pass_on(call, response, events, down, drain_bytes)
    except Unanswered as error:
        outcome.error = str(error)
        await _write(
            call, down, sse_error("upstream_cut", f"the model's server ended the stream: {error}", call.plan.ask.anthropic)
        )
    finally:
        outcome.usage, outcome.model, outcome.finish = events.usage, events.model, events.finish
        outcome.result = "cut" if outcome.error else "upstream_error" if events.failed else call.ending()
    return down


async def _pass_on(
    call: Call, response: aiohttp.ClientResponse, events: EventMeter, down: web.StreamResponse, drain_bytes: int
) -> None:
    """Pass the stream on; once the client left, read on for its usage within the drain's bounds."""
    with contextlib.suppress(ConnectionError):
        await down.prepare(call.request)
    drained = 0
    bound, tape = call.bound, call.tape
    while chunk := await Upstreams.more(response):
        data = events.feed(chunk)
        if tape is not None:
            tape.add(data)
        if not bound.gone and data:
            await _write(call, down, data)
        if bound.gone:
            drained += len(chunk)
            if drained > drain_bytes:
                raise Unanswered("the client left and too much was still to come")
    rest = events.rest()
    if tape is not None:
        tape.add(rest)
        tape.content_type, tape.whole = down.content_type, not events.failed
    await _write(call, down, rest)


async def _write(call: Call, down: web.StreamResponse, data: bytes) -> None:
    """Write unless the client left, or leaves."""
    if data and not call.bound.gone:
        try:
            await down.write(data)
        except (ConnectionError, RuntimeError):
            call.bound.gone = True


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = from_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def passed_down(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The server's headers that are for the caller; never a Retry-After, the waiting is done here."""
    passed = {name: value for name, value in response.headers.items() if name.lower().startswith(_PASSED_DOWN)}
    return {"Content-Type": response.headers.get("Content-Type", "application/json"), **passed}
