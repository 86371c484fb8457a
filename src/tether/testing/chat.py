"""OpenAI's /v1/chat/completions as the scripted model speaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tether.testing.script import Message, Request, ToolCall
from tether.testing.spoken import Refusal, Spoken, SpokenCall, pieces

__all__ = ["answer", "events", "flat_text", "loose_json", "read", "refusal", "sse", "whole_number"]

_FINISH = {"stop": "stop", "tools": "tool_calls", "length": "length"}


def sse(data: Any, event: str = "") -> bytes:
    """One server-sent event with JSON data."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def flat_text(content: Any) -> str:
    """All text of a message's content, whichever of the shapes it has (text, or a list of parts)."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(flat_text(part) for part in content)
    if isinstance(content, dict):
        return flat_text(content.get("text", content.get("content", "")))
    return ""


def loose_json(text: Any) -> dict[str, Any]:
    """Arguments as an object; text that is no JSON object is kept under "text"."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        value = text
    return value if isinstance(value, dict) else {"text": value}


def whole_number(body: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that is set, as a positive whole number; raises Refusal."""
    for name in names:
        value = body.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise Refusal(400, f"{name}: {value!r} is not a positive whole number")
            return value
    return None


def _message(raw: Mapping[str, Any]) -> Message:
    role = str(raw.get("role", ""))
    calls = tuple(
        ToolCall(id=c.get("id"), name=c["function"]["name"], args=loose_json(c["function"].get("arguments")))
        for c in raw.get("tool_calls") or ()
    )
    return Message(role="system" if role == "developer" else role, text=flat_text(raw.get("content")), tools=calls)


def read(body: Mapping[str, Any]) -> Request:
    """The request in the common shape; raises Refusal."""
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refusal(400, "messages: must be a list with at least one message")
    messages = tuple(_message(raw) for raw in body["messages"])
    return Request(
        route="chat",
        model=str(body.get("model", "")),
        messages=messages,
        turn=sum(m.role == "assistant" for m in messages),
        tools=tuple(t["function"]["name"] for t in body.get("tools") or () if "function" in t),
        max_tokens=whole_number(body, "max_completion_tokens", "max_tokens"),
        stream=bool(body.get("stream")),
        body=body,
    )


def _usage(spoken: Spoken) -> dict[str, Any] | None:
    u = spoken.usage
    if u is None:
        return None
    return {
        "prompt_tokens": u.input_tokens,
        "completion_tokens": u.output_tokens,
        "total_tokens": u.input_tokens + u.output_tokens,
        "prompt_tokens_details": {"cached_tokens": u.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _call(spoken: SpokenCall) -> dict[str, Any]:
    return {"id": spoken.id, "type": "function", "function": {"name": spoken.name, "arguments": spoken.arguments}}


def answer(request: Request, spoken: Spoken) -> dict[str, Any]:
    """A chat.completion."""
    message: dict[str, Any] = {"role": "assistant", "content": spoken.text or None, "refusal": None}
    if spoken.calls:
        message["tool_calls"] = [_call(c) for c in spoken.calls]
    finish = _FINISH.get(spoken.finish, spoken.finish)
    choices = [
        {"index": i, "message": message, "finish_reason": finish, "logprobs": None}
        for i in range(whole_number(request.body, "n") or 1)
    ]
    out = {"id": f"chatcmpl-{spoken.id}", "object": "chat.completion", "created": spoken.at_s, "model": request.model}
    return {**out, "choices": choices, **({} if spoken.usage is None else {"usage": _usage(spoken)})}


def _deltas(spoken: Spoken) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in pieces(spoken.text):
        yield {"content": piece}
    for index, made in enumerate(spoken.calls):
        yield {"tool_calls": [{"index": index, **_call(SpokenCall(id=made.id, name=made.name, arguments=""))}]}
        for piece in pieces(made.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def events(request: Request, spoken: Spoken) -> Iterator[bytes]:
    """chat.completion.chunk events; the usage chunk only when stream_options.include_usage asks for it."""
    wanted = bool((request.body.get("stream_options") or {}).get("include_usage"))
    chunk: dict[str, Any] = {"id": f"chatcmpl-{spoken.id}", "object": "chat.completion.chunk"}
    chunk |= {"created": spoken.at_s, "model": request.model}
    if wanted:
        chunk["usage"] = None
    for delta in _deltas(spoken):
        yield sse({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    finish = _FINISH.get(spoken.finish, spoken.finish)
    yield sse({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if wanted and spoken.usage is not None:
        yield sse({**chunk, "choices": [], "usage": _usage(spoken)})
    yield b"data: [DONE]\n\n"


def refusal(status: int, message: str) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "server_error" if status >= 500 else None)
    return {"error": {"message": message, "type": kind or "invalid_request_error", "param": None, "code": None}}
