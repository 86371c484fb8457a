"""What a scripted model says: replies, their faults, and the rule that picks one for a request.

A reply is picked by the content of the conversation (a marker in the goal, the number of the model's own messages so far),
so many tasks can talk to one server at once and a resumed task gets the answer it would have got before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tether.errors import ValidationError

__all__ = [
    "Fault",
    "Message",
    "Reply",
    "Request",
    "Script",
    "ToolCall",
    "Usage",
    "as_script",
    "call",
    "fault",
    "reply",
    "script_from_json",
]

FAULTS = ("hang", "gate", "delay", "drip", "status", "cut", "reset", "garbage", "empty", "no_usage")


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One tool the model calls; id is made from the conversation when it is None."""

    name: str
    args: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens as the provider reports them; cached_tokens are part of input_tokens."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a reply.

    kind: hang (no answer until the client leaves) | gate (waits until `open_gate(name)`) | delay (`seconds` before the
    answer) | drip (`seconds` before each chunk) | status (HTTP `status`, `retry_after_s` as Retry-After) | cut (the connection
    ends after `after` chunks, or in the middle of a plain body) | reset (TCP reset before any answer) | garbage (200 and no
    JSON) | empty (200, nothing in it) | no_usage (the answer without its usage).
    times: how many requests with the same conversation meet it before the reply is given properly; None: all of them.
    """

    kind: str
    seconds: float = 0.0
    status: int = 500
    retry_after_s: float | None = None
    after: int = 1
    gate: str = ""
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValidationError("fault.kind", f"{self.kind!r} is unknown", f"use one of {', '.join(FAULTS)}")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer of the model: text, tool calls, or both; usage None means counted from the request and the answer."""

    text: str = ""
    tools: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    fault: Fault | None = None
    finish: str | None = None

    @classmethod
    def of(cls, value: Reply | str | Mapping[str, Any]) -> Reply:
        """A reply from text, or from JSON with the same keys: `tools` [{"name", "args"}], `fault` {"kind", …} or just a kind."""
        if isinstance(value, Reply):
            return value
        if isinstance(value, str):
            return Reply(text=value)
        given = dict(value)
        given["tools"] = tuple(t if isinstance(t, ToolCall) else ToolCall(**t) for t in given.get("tools", ()))
        if isinstance(given.get("usage"), Mapping):
            given["usage"] = Usage(**given["usage"])
        if isinstance(given.get("fault"), str):
            given["fault"] = Fault(kind=given["fault"])
        elif isinstance(given.get("fault"), Mapping):
            given["fault"] = Fault(**given["fault"])
        try:
            return Reply(**given)
        except TypeError as error:
            raise ValidationError("reply", str(error), "known keys: text, tools, usage, fault, finish") from None


def reply(
    text: str = "",
    *,
    tools: Sequence[ToolCall] = (),
    usage: Usage | None = None,
    fault: Fault | None = None,
    finish: str | None = None,
) -> Reply:
    """A reply of the scripted model, for example `reply(tools=[call("web_fetch", url="http://…")])`."""
    return Reply(text=text, tools=tuple(tools), usage=usage, fault=fault, finish=finish)


def call(tool_name: str, /, **args: Any) -> ToolCall:
    """A tool call of the scripted model with these arguments."""
    return ToolCall(name=tool_name, args=args)


def fault(kind: str, **details: Any) -> Fault:
    """A fault by its kind; see Fault for kinds and details, for example `fault("status", status=429, times=2)`."""
    return Fault(kind=kind, **details)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a conversation in one shape for all routes; role: system | user | assistant | tool."""

    role: str
    text: str = ""
    tools: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the client asked, in one shape for all routes.

    route: chat | responses | messages; turn: how often the model has spoken in this conversation; tools: names on offer;
    max_tokens: most output tokens or None; body: the JSON as it came.
    """

    route: str
    model: str
    messages: tuple[Message, ...]
    turn: int
    tools: tuple[str, ...] = ()
    max_tokens: int | None = None
    stream: bool = False
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def asked(self) -> str:
        """All text of system and user messages: where the goal stands."""
        return "\n".join(m.text for m in self.messages if m.role in ("system", "user"))

    @property
    def last(self) -> str:
        """Text of the last message."""
        return self.messages[-1].text if self.messages else ""

    @property
    def results(self) -> tuple[str, ...]:
        """Texts of all tool results, oldest first."""
        return tuple(m.text for m in self.messages if m.role == "tool")

    @property
    def fingerprint(self) -> str:
        """Hex digest of the conversation: equal for equal conversations, whoever asks and whenever."""
        said = [[m.role, m.text, [[t.name, dict(t.args)] for t in m.tools]] for m in self.messages]
        text = json.dumps([self.model, said], sort_keys=True, default=str)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


#: A rule that picks a reply for a request; None: this script has nothing to say to it.
Script = Callable[[Request], Reply | None]
Scripted = Script | Sequence[Reply | str | Mapping[str, Any]] | Mapping[str, Any]


def as_script(source: Scripted) -> Script:
    """A rule from a function, a list of replies (by turn), or {marker in the goal: list or function}; "" takes the rest."""
    if callable(source):
        return source
    if isinstance(source, Mapping):
        return _by_marker({marker: as_script(part) for marker, part in source.items()})
    return _by_turn(tuple(Reply.of(item) for item in source))


def _by_turn(replies: tuple[Reply, ...]) -> Script:
    def pick(request: Request) -> Reply | None:
        return replies[request.turn] if request.turn < len(replies) else None

    return pick


def _by_marker(scripts: Mapping[str, Script]) -> Script:
    # longest first, so that "TASK-12" is not taken for "TASK-1" and "" comes last
    markers = sorted(scripts, key=len, reverse=True)

    def pick(request: Request) -> Reply | None:
        asked = request.asked
        return next((scripts[marker](request) for marker in markers if marker in asked), None)

    return pick


def script_from_json(text: str) -> Script:
    """A rule from JSON text: a list of replies, or {marker: list of replies}; raises ValidationError."""
    try:
        source: Any = json.loads(text)
    except ValueError as error:
        raise ValidationError("script", f"is not JSON ({error})", "write a list of replies or {marker: list}") from None
    if not isinstance(source, list | dict):
        raise ValidationError("script", "is neither a list nor a map", "write a list of replies or {marker: list}")
    return as_script(cast("Scripted", source))
