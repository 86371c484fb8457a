"""Anthropic's /v1/messages as the scripted model speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tether.testing.chat import flat_text, loose_json, sse, whole_number
from tether.testing.script import Message, Request, ToolCall
from tether.testing.spoken import Refusal, Spoken, pieces

__all__ = ["answer", "events", "read", "refusal"]

_FINISH = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens"}
_ERRORS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error"}


def _read_message(raw: Mapping[str, Any]) -> Iterator[Message]:
    role, content = str(raw.get("role", "")), raw.get("content")
    blocks: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for block in blocks:
        if block.get("type") == "tool_result":
            yield Message(role="tool", text=flat_text(block.get("content")))
    said = [b for b in blocks if b.get("type") == "text"]
    calls = tuple(ToolCall(id=b["id"], name=b["name"], args=b.get("input") or {}) for b in blocks if b.get("type") == "tool_use")
    if said or calls:
        yield Message(role=role, text=flat_text(said), tools=calls)


def read(body: Mapping[str, Any]) -> Request:
    """The request in the common shape; raises Refusal."""
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, "messages: must be a list with at least one message")
    most = whole_number(body, "max_tokens")
    if most is None:
        raise Refusal(400, "max_tokens: Field required")
    system = [Message(role="system", text=flat_text(body["system"]))] if body.get("system") else []
    return Request(
        route="messages",
        model=str(body.get("model", "")),
        messages=(*system, *(m for raw in body["messages"] for m in _read_message(raw))),
        turn=sum(raw.get("role") == "assistant" for raw in body["messages"]),
        tools=tuple(str(t["name"]) for t in body.get("tools") or ()),
        max_tokens=most,
        stream=bool(body.get("stream")),
        body=body,
    )


def _usage(spoken: Spoken) -> dict[str, Any]:
    u = spoken.usage
    if u is None:
        return {}
    return {
        "input_tokens": u.input_tokens - u.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": u.cached_tokens,
        "output_tokens": u.output_tokens,
    }


def _blocks(spoken: Spoken) -> list[dict[str, Any]]:
    said = [{"type": "text", "text": spoken.text}] if spoken.text else []
    return said + [
        {"type": "tool_use", "id": c.id.replace("call_", "toolu_"), "name": c.name, "input": loose_json(c.arguments)}
        for c in spoken.calls
    ]


def answer(request: Request, spoken: Spoken) -> dict[str, Any]:
    """A message."""
    return {
        "id": f"msg_{spoken.id}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": _blocks(spoken),
        "stop_reason": _FINISH.get(spoken.finish, spoken.finish),
        "stop_sequence": None,
        **({} if spoken.usage is None else {"usage": _usage(spoken)}),
    }


def _block_events(spoken: Spoken) -> Iterator[dict[str, Any]]:
    arguments = [c.arguments for c in spoken.calls]
    for index, block in enumerate(_blocks(spoken)):
        is_text = block["type"] == "text"
        empty = {"text": ""} if is_text else {"input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for piece in pieces(spoken.text if is_text else arguments.pop(0)):
            delta = {"type": "text_delta", "text": piece} if is_text else {"type": "input_json_delta", "partial_json": piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def events(request: Request, spoken: Spoken) -> Iterator[bytes]:
    """message_start … message_stop events; output tokens in message_delta, as the provider does."""
    whole = answer(request, spoken)
    usage = whole.get("usage")
    start = {**whole, "content": [], "stop_reason": None}
    if usage is not None:
        start["usage"] = {**usage, "output_tokens": 1}
    yield sse({"type": "message_start", "message": start}, "message_start")
    yield sse({"type": "ping"}, "ping")
    for event in _block_events(spoken):
        yield sse(event, event["type"])
    ending: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
    }
    if usage is not None:
        ending["usage"] = {"output_tokens": usage["output_tokens"]}
    yield sse(ending, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")


def refusal(status: int, message: str) -> dict[str, Any]:
    """An error in Anthropic's shape."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}
