"""What the model finally says: a reply with its ids given, cut to max_tokens, its tokens counted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tether.testing.script import Reply, Request, Usage

__all__ = ["Refusal", "Spoken", "SpokenCall", "Wire", "pieces", "speak", "tokens"]

_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class SpokenCall:
    """A tool call with its id and its arguments as JSON text (incomplete when max_tokens cut it)."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An answer before it takes the shape of a route; finish: stop | tools | length, or the script's own word."""

    id: str
    at_s: int
    text: str
    calls: tuple[SpokenCall, ...]
    usage: Usage | None
    finish: str


class Refusal(Exception):
    """A request the provider does not accept: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Wire(Protocol):
    """The shape of one route; each of chat, responses and messages is one."""

    def read(self, body: Mapping[str, Any]) -> Request:
        """The request in the common shape; raises Refusal."""
        ...

    def answer(self, request: Request, spoken: Spoken) -> dict[str, Any]:
        """The whole answer as JSON."""
        ...

    def events(self, request: Request, spoken: Spoken) -> Iterator[bytes]:
        """The answer as server-sent events, a chunk each."""
        ...

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        """An error as JSON."""
        ...


def tokens(text: str) -> int:
    """Tokens of a text by the scripted model's own measure: four characters each, rounded up."""
    return -(-len(text) // _CHARS_PER_TOKEN)


def pieces(text: str) -> list[str]:
    """A text in about eight pieces, as a stream would bring it."""
    size = max(_CHARS_PER_TOKEN, -(-len(text) // 8))
    return [text[i : i + size] for i in range(0, len(text), size)]


def speak(request: Request, reply: Reply, number: int) -> Spoken:
    """The reply as it is said to this request: ids from the conversation, max_tokens honoured, usage counted or as scripted.

    number: the request's number in the ledger; the answer's id is new for each request, tool call ids are the conversation's.
    """
    left = 10**9 if request.max_tokens is None else request.max_tokens * _CHARS_PER_TOKEN
    text = reply.text[:left]
    left -= len(text)
    calls: list[SpokenCall] = []
    whole = len(text) == len(reply.text)
    for index, tool in enumerate(reply.tools):
        arguments = json.dumps(dict(tool.args))
        if left <= 0:
            whole = False
            break
        whole = whole and len(arguments) <= left
        id_ = tool.id or f"call_{request.fingerprint[:16]}_{index}"
        calls.append(SpokenCall(id=id_, name=tool.name, arguments=arguments[:left]))
        left -= len(arguments)
    finish = reply.finish or ("length" if not whole else "tools" if calls else "stop")
    return Spoken(
        id=f"scripted_{number}",
        at_s=int(time.time()),
        text=text,
        calls=tuple(calls),
        usage=_usage(request, reply, text, calls),
        finish=finish,
    )


def _usage(request: Request, reply: Reply, text: str, calls: list[SpokenCall]) -> Usage | None:
    if reply.fault is not None and reply.fault.kind == "no_usage":
        return None
    if reply.usage is not None:
        return reply.usage
    said = "".join(m.text + "".join(t.name + json.dumps(dict(t.args)) for t in m.tools) for m in request.messages)
    offered = request.body.get("tools")
    asked = tokens(said) + (tokens(json.dumps(offered)) if offered else 0)
    return Usage(
        input_tokens=max(1, asked), output_tokens=max(1, tokens(text) + sum(tokens(c.name) + tokens(c.arguments) for c in calls))
    )
