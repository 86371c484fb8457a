"""The scripted provider as an aiohttp application: routes, faults, keys, and the book of what was asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any, cast

from aiohttp import web

from tether.testing import chat, messages, responses
from tether.testing.chat import flat_text
from tether.testing.ledger import Entry, Ledger, auth_hash
from tether.testing.script import Fault, Reply, Request, Script, Usage
from tether.testing.spoken import Refusal, Spoken, Wire, speak, tokens

__all__ = ["Provider"]

_MAX_BODY_BYTES = 64 * 2**20
_FOREVER_S = 86400.0


class _Broken(Exception):
    """The connection was cut or reset on purpose."""


def _wire(module: ModuleType) -> Wire:
    return cast("Wire", module)


class Provider:
    """Answers by `script`, notes everything in `ledger`; `api_key` refuses other keys, None takes any."""

    def __init__(self, script: Script, ledger: Ledger, *, api_key: str | None, models: Sequence[str]) -> None:
        self.script = script
        self.ledger = ledger
        self._auth = None if api_key is None else auth_hash(api_key)
        self._models = tuple(models)
        self._met: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}

    def app(self) -> web.Application:
        """The application with all routes."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._route(chat))
        app.router.add_post("/v1/responses", self._route(responses))
        app.router.add_post("/v1/messages", self._route(messages))
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/ledger", self._show_ledger)
        app.router.add_post("/gates/{name}/open", self._open_gate)
        return app

    def gate(self, name: str) -> asyncio.Event:
        """The gate of that name; replies with `fault("gate", gate=name)` wait until it is set."""
        return self._gates.setdefault(name, asyncio.Event())

    async def _show_ledger(self, _http: web.Request) -> web.Response:
        return web.json_response({"data": [entry.document() for entry in self.ledger.entries()]})

    async def _open_gate(self, http: web.Request) -> web.Response:
        self.gate(http.match_info["name"]).set()
        return web.json_response({"open": http.match_info["name"]})

    async def _list_models(self, _http: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "tether"} for name in self._models]
        return web.json_response({"object": "list", "data": data})

    def _route(self, module: ModuleType) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(http: web.Request) -> web.StreamResponse:
            return await self._generate(http, _wire(module))

        return answer

    # one generation: read, note, pick, meet the fault, answer

    async def _generate(self, http: web.Request, wire: Wire) -> web.StreamResponse:
        entry: Entry | None = None
        try:
            body = await _json_body(http)
            request = wire.read(body)
            entry = self._note(http, request)
            self._check_key(entry)
            reply = self._pick(request)
            return await self._give(http, wire, request, reply, entry)
        except Refusal as refused:
            return self._refuse(wire, entry, refused.status, str(refused), {})
        except asyncio.CancelledError:
            self._close(entry, "client_gone", None)
            raise

    def _note(self, http: web.Request, request: Request) -> Entry:
        return self.ledger.received(
            route=request.route,
            model=request.model,
            auth=auth_hash(_key(http)),
            stream=request.stream,
            turn=request.turn,
            body=request.body,
        )

    def _check_key(self, entry: Entry) -> None:
        if self._auth is not None and entry.auth != self._auth:
            raise Refusal(401, "Incorrect API key provided")

    def _pick(self, request: Request) -> Reply:
        reply = self.script(request)
        if reply is None:
            raise Refusal(400, f"the script has no reply for turn {request.turn} of {request.asked[:200]!r}")
        return reply

    def _fault(self, request: Request, reply: Reply) -> Fault | None:
        fault = reply.fault
        if fault is None or fault.times is None:
            return fault
        self._met[request.fingerprint] += 1
        return fault if self._met[request.fingerprint] <= fault.times else None

    async def _give(self, http: web.Request, wire: Wire, request: Request, reply: Reply, entry: Entry) -> web.StreamResponse:
        fault = self._fault(request, reply)
        if fault is not None:
            if fault.kind == "status":
                headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
                return self._refuse(wire, entry, fault.status, "a scripted fault", headers)
            await self._wait(fault)
            if fault.kind == "reset":
                return self._break(http, entry, "reset")
            if fault.kind in ("garbage", "empty"):
                self._close(entry, f"fault:{fault.kind}", 200)
                text = "<html>Bad gateway\x00{" if fault.kind == "garbage" else ""
                return web.Response(text=text, content_type="text/event-stream" if request.stream else "application/json")
        spoken = speak(request, reply, entry.number)
        try:
            return await self._say(http, wire, request, spoken, fault, entry)
        except _Broken:
            return self._break(http, entry, "cut", spoken)
        except ConnectionError:
            self._close(entry, "client_gone", 200, spoken)
            raise

    async def _wait(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await asyncio.sleep(_FOREVER_S)
        elif fault.kind == "gate":
            await self.gate(fault.gate).wait()
        elif fault.kind == "delay":
            await asyncio.sleep(fault.seconds)

    async def _say(
        self, http: web.Request, wire: Wire, request: Request, spoken: Spoken, fault: Fault | None, entry: Entry
    ) -> web.StreamResponse:
        kind = "" if fault is None else fault.kind
        pause_s = fault.seconds if fault is not None and kind == "drip" else 0.0
        chunks = list(wire.events(request, spoken)) if request.stream else _body(wire.answer(request, spoken), kind)
        cut = None if fault is None or kind != "cut" else min(fault.after, len(chunks) - 1)
        answer = web.StreamResponse(headers={"x-request-id": spoken.id})
        answer.content_type = "text/event-stream" if request.stream else "application/json"
        if not request.stream:
            answer.content_length = sum(len(chunk) for chunk in chunks)
        await answer.prepare(http)
        for number, chunk in enumerate(chunks):
            if number == cut:
                raise _Broken
            await asyncio.sleep(pause_s)
            if number == len(chunks) - 1:
                # noted before the last bytes leave, so that a client which has the answer finds it in the ledger
                self._close(entry, "answered", 200, spoken)
            await answer.write(chunk)
        return answer

    # endings

    def _refuse(self, wire: Wire, entry: Entry | None, status: int, message: str, headers: dict[str, str]) -> web.Response:
        self._close(entry, "refused", status)
        return web.json_response(wire.refusal(status, message), status=status, headers=headers)

    def _break(self, http: web.Request, entry: Entry, how: str, spoken: Spoken | None = None) -> web.StreamResponse:
        self._close(entry, "cut" if how == "cut" else f"fault:{how}", None, spoken)
        transport = http.transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if how == "reset" and sock is not None:
                # linger 0: the kernel answers with RST instead of an orderly end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.close()
        return web.Response()

    def _close(self, entry: Entry | None, outcome: str, status: int | None, spoken: Spoken | None = None) -> None:
        if entry is not None:
            said = None if spoken is None else {"text": spoken.text, "calls": [asdict(c) for c in spoken.calls]}
            usage = None if spoken is None else spoken.usage
            self.ledger.ended(entry.number, outcome, status=status, usage=usage, reply=said)

    # embeddings

    async def _embed(self, http: web.Request) -> web.Response:
        entry: Entry | None = None
        try:
            body = await _json_body(http)
            entry = self.ledger.received(
                route="embeddings", model=str(body.get("model", "")), auth=auth_hash(_key(http)), stream=False, turn=0, body=body
            )
            self._check_key(entry)
            texts = _texts(body.get("input"))
        except Refusal as refused:
            return self._refuse(_wire(chat), entry, refused.status, str(refused), {})
        used = sum(tokens(text) for text in texts)
        self.ledger.ended(entry.number, "answered", status=200, usage=Usage(input_tokens=used, output_tokens=0))
        data = [{"object": "embedding", "index": i, "embedding": _vector(t, body)} for i, t in enumerate(texts)]
        usage = {"prompt_tokens": used, "total_tokens": used}
        return web.json_response({"object": "list", "data": data, "model": entry.model, "usage": usage})


def _body(document: dict[str, Any], kind: str) -> list[bytes]:
    """A plain body in as many chunks as the fault needs: two to be cut between, eight to drip."""
    data = json.dumps(document).encode()
    size = -(-len(data) // {"cut": 2, "drip": 8}.get(kind, 1))
    return [data[i : i + size] for i in range(0, len(data), size)]


def _key(http: web.Request) -> str:
    return http.headers.get("x-api-key") or http.headers.get("Authorization", "").removeprefix("Bearer ")


async def _json_body(http: web.Request) -> dict[str, Any]:
    try:
        body: Any = json.loads(await http.read())
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
    return cast("dict[str, Any]", body)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise Refusal(400, "input: must be text or a list of texts")
    return [flat_text(t) for t in texts]


def _vector(text: str, body: dict[str, Any]) -> list[float] | str:
    size = int(body.get("dimensions") or 8)
    digest = hashlib.shake_256(text.encode(errors="surrogatepass")).digest(size)
    numbers = [byte / 127.5 - 1.0 for byte in digest]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
    return numbers
