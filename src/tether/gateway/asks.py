"""Reading a request: what it may cost at most. Whatever cannot be bounded is refused here; nothing unknown passes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic_core import from_json

from tether.gateway.refusals import BAD_REQUEST, Refusal

__all__ = ["Ask", "is_unambiguous", "read_ask"]

_TEXT_PARTS = frozenset(
    (
        *("text", "refusal", "input_text", "output_text", "summary_text", "reasoning_text", "search_result"),
        *("thinking", "redacted_thinking", "reasoning", "tool_use", "tool_result", "tool_reference", "message"),
        *("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("local_shell_call", "local_shell_call_output", "apply_patch_call", "apply_patch_call_output"),
    )
)
_CLIENT_TOOLS = frozenset(("function", "custom", "local_shell", "apply_patch"))
_CLIENT_TOOL_PREFIXES = ("bash_", "text_editor_", "memory_")  # Anthropic's that the client runs
_ORDINARY_TIERS = (None, "auto", "default", "flex", "standard", "standard_only")
_PROVIDER_STATE = ("previous_response_id", "conversation", "prompt")
_TOOL_VERSION = re.compile(r"_(?:preview|\d{4}_?\d{2}_?\d{2}|\d{8})")
_DEFAULT_USES = 10
_METERED_KEYS = frozenset(
    (
        *(
            "model",
            "stream",
            "stream_options",
            "n",
            "tools",
            "messages",
            "system",
            "input",
            "service_tier",
            "modalities",
            "speed",
        ),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls", "background", "audio", "prediction"),
        *("web_search_options", "mcp_servers", "container", "inference_geo", "context_management", *_PROVIDER_STATE),
    )
)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, read. wanted_output: tokens, or None when it names no maximum (then `output_field` is where it would stand).

    media: images, sounds and files in it, media_bytes their inline bytes. hosted: the provider's own tools → most uses.
    remembers: the prompt is longer than what was sent. unpriceable: options whose cost nobody can bound.
    least_output: with less, the request makes no sense. wants_usage: whether a stream's usage chunk is for the caller too.
    """

    route: str
    body: dict[str, Any]
    size: int
    model: str
    streamed: bool
    output_field: str | None
    wanted_output: int | None
    n: int = 1
    wants_usage: bool = True
    media: int = 0
    media_bytes: int = 0
    hosted: Mapping[str, int] = field(default_factory=dict[str, int])
    remembers: bool = False
    long_prompt: bool = False
    least_output: int = 0
    has_tools: bool = False
    unpriceable: tuple[str, ...] = ()

    @property
    def anthropic(self) -> bool:
        """Whether the caller speaks Anthropic's API."""
        return self.route == "messages"


def read_ask(route: str, raw: bytes, *, long_prompt: bool = False) -> Ask:
    """Read the body of a POST to `route` (chat, responses, embeddings, messages); raises Refusal for what is not a request.

    long_prompt: the caller asked for more than the model's usual window.
    """
    body = _object(raw)
    output_field, wanted = _output(route, body)
    media, media_bytes, remembers = _contents(route, body)
    options = body.get("stream_options")
    return Ask(
        route=route,
        body=body,
        size=len(raw),
        model=_typed(body, "model", str, ""),
        streamed=_typed(body, "stream", bool, False) and route != "embeddings",
        output_field=output_field,
        wanted_output=wanted,
        n=_n(body) if route == "chat" else 1,
        wants_usage=route != "chat" or (isinstance(options, dict) and options.get("include_usage") is True),
        media=media,
        media_bytes=media_bytes,
        hosted=_hosted(body),
        remembers=remembers or any(body.get(key) is not None for key in _PROVIDER_STATE),
        long_prompt=long_prompt,
        least_output=_least_output(body),
        has_tools=bool(body.get("tools")),
        unpriceable=tuple(_unpriceable(body)),
    )


def _bad(field_name: str, problem: str) -> Refusal:
    return Refusal(BAD_REQUEST, "invalid_request", f"{field_name}: {problem}", limit="policy")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = from_json(raw)
    except ValueError:
        raise _bad("body", "is not JSON") from None
    if not isinstance(body, dict):
        raise _bad("body", "is not a JSON object")
    for key in cast("dict[str, Any]", body):
        if key not in _METERED_KEYS and key.lower() in _METERED_KEYS:  # some servers ignore case and would read another limit
            raise _bad(key, f"write {key.lower()}")
    return cast("dict[str, Any]", body)


def is_unambiguous(raw: bytes) -> bool:
    """Whether no object has a key twice: another reader might take the other one, so such bytes are never passed on."""
    twice: list[int] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            twice.append(1)
        return made

    json.loads(raw, object_pairs_hook=pairs)
    return not twice


def _typed(body: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise _bad(name, f"is not a {kind.__name__}")
    return value


def _number(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(name, "is not a whole number from 0")
    return value


def _n(body: Mapping[str, Any]) -> int:
    n = _number(body, "n")
    if n is not None and not 1 <= n <= 128:
        raise _bad("n", "is not from 1 to 128")
    return n or 1


def _output(route: str, body: Mapping[str, Any]) -> tuple[str | None, int | None]:
    if route == "embeddings":
        return None, 0
    if route != "chat":
        name = "max_tokens" if route == "messages" else "max_output_tokens"
        return name, _number(body, name)
    given = {name: _number(body, name) for name in ("max_completion_tokens", "max_tokens")}
    if given["max_completion_tokens"] is not None and given["max_tokens"] is not None:
        raise _bad("max_tokens", "and max_completion_tokens are both given; send one")
    for name, value in given.items():
        if value is not None:
            return name, value
    return "max_completion_tokens", None


def _least_output(body: Mapping[str, Any]) -> int:
    """Anthropic wants room for an answer behind the thinking it was allowed."""
    thinking = body.get("thinking")
    budget = cast("dict[str, Any]", thinking).get("budget_tokens") if isinstance(thinking, dict) else None
    return budget + 1 if isinstance(budget, int) else 0


def _contents(route: str, body: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Media in the prompt, their inline bytes, and whether the prompt refers to what the provider keeps."""
    media = media_bytes = 0
    remembers = False
    for part in _parts(route, body):
        kind = part.get("type")
        if kind == "item_reference":
            remembers = True
        elif kind is not None and kind not in _TEXT_PARTS:
            media += 1
            media_bytes += _inline_bytes(part)
    return media, media_bytes, remembers


def _parts(route: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if route in ("chat", "messages"):
        yield from _walk(body.get("system"), 0)
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise _bad("messages", "is not a list")
        for message in cast("list[Any]", messages):
            if not isinstance(message, dict):
                raise _bad("messages", "has an entry that is not an object")
            if message.get("audio") is not None:
                yield {"type": "audio"}
            yield from _walk(message.get("content"), 0)
    elif route == "responses":
        yield from _walk(body.get("input"), 0)
    elif not _is_text_input(body.get("input")):
        yield {"type": "input"}


def _walk(content: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list) or depth > 4:
        raise _bad("content", "is neither text nor a list of parts")
    for part in cast("list[Any]", content):
        if not isinstance(part, dict):
            raise _bad("content", "has a part that is not an object")
        yield part
        for name in ("content", "output", "summary"):
            inner = part.get(name)
            if isinstance(inner, list):
                yield from _walk(cast("Any", inner), depth + 1)


def _is_text_input(value: Any) -> bool:
    """Embeddings take text, token numbers, or lists of either."""
    if isinstance(value, str):
        return True
    if not isinstance(value, list):
        return False
    items = cast("list[Any]", value)
    return all(isinstance(item, str | int) or _is_text_input(item) for item in items)


def _inline_bytes(part: Mapping[str, Any]) -> int:
    """The longest text inside the part: base64 is not read as tokens."""
    longest = 0
    waiting: list[Any] = [part]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            longest = max(longest, len(value))
        elif isinstance(value, dict):
            waiting.extend(cast("dict[str, Any]", value).values())
    return longest


def _hosted(body: Mapping[str, Any]) -> dict[str, int]:
    """Tools the provider would run itself, with the most uses the request allows."""
    tools = body.get("tools")
    found: dict[str, int] = {}
    if tools is not None and not isinstance(tools, list):
        raise _bad("tools", "is not a list")
    for tool in cast("list[Any]", tools or []):
        if not isinstance(tool, dict):
            raise _bad("tools", "has an entry that is not an object")
        kind = str(tool.get("type", "function"))
        if kind not in _CLIENT_TOOLS and not kind.startswith(_CLIENT_TOOL_PREFIXES):
            uses = _number(tool, "max_uses") or _number(body, "max_tool_calls") or _DEFAULT_USES
            found[_TOOL_VERSION.sub("", kind)] = uses
    for name, kind in (("web_search_options", "web_search"), ("mcp_servers", "mcp"), ("container", "code_execution")):
        if body.get(name):
            found.setdefault(kind, 1 if kind == "web_search" else _DEFAULT_USES)
    return found


def _unpriceable(body: Mapping[str, Any]) -> Iterator[str]:
    if body.get("service_tier") not in _ORDINARY_TIERS:
        yield "service_tier"
    if body.get("modalities") not in (None, ["text"]):
        yield "modalities"
    if body.get("speed") not in (None, "standard"):
        yield "speed"
    for name in ("background", "audio", "prediction", "inference_geo"):
        if body.get(name):
            yield name
    management = body.get("context_management")
    if management and "compact" in json.dumps(management):
        yield "context_management"
