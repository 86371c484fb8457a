"""OpenAI's /v1/responses as the scripted model speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tether.testing import chat
from tether.testing.chat import flat_text, loose_json, sse, whole_number
from tether.testing.script import Message, Request, ToolCall
from tether.testing.spoken import Refusal, Spoken, pieces

__all__ = ["answer", "events", "read", "refusal"]

refusal = chat.refusal


def _item(raw: Mapping[str, Any]) -> Message:
    kind = raw.get("type", "message")
    if kind == "function_call":
        made = ToolCall(id=raw.get("call_id"), name=str(raw["name"]), args=loose_json(raw.get("arguments")))
        return Message(role="assistant", tools=(made,))
    if kind == "function_call_output":
        return Message(role="tool", text=flat_text(raw.get("output")))
    if kind == "reasoning":
        return Message(role="assistant")
    role = str(raw.get("role", "user"))
    return Message(role="system" if role == "developer" else role, text=flat_text(raw.get("content")))


def _turns(messages: tuple[Message, ...]) -> int:
    # one answer comes back as several items (reasoning, text, each call): neighbours are one turn
    roles = ["", *(m.role for m in messages)]
    return sum(now == "assistant" != before for before, now in pairwise(roles))


def read(body: Mapping[str, Any]) -> Request:
    """The request in the common shape; raises Refusal."""
    if body.get("previous_response_id"):
        raise Refusal(400, "previous_response_id: the scripted model keeps no conversations; send the whole input")
    given = body.get("input")
    if not given or not isinstance(given, str | list):
        raise Refusal(400, "input: must be text or a list of items")
    items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    system = [Message(role="system", text=flat_text(body["instructions"]))] if body.get("instructions") else []
    messages = (*system, *(_item(raw) for raw in items))
    return Request(
        route="responses",
        model=str(body.get("model", "")),
        messages=messages,
        turn=_turns(messages),
        tools=tuple(str(t["name"]) for t in body.get("tools") or () if t.get("type") == "function"),
        max_tokens=whole_number(body, "max_output_tokens"),
        stream=bool(body.get("stream")),
        body=body,
    )


def _usage(spoken: Spoken) -> dict[str, Any] | None:
    u = spoken.usage
    if u is None:
        return None
    return {
        "input_tokens": u.input_tokens,
        "input_tokens_details": {"cached_tokens": u.cached_tokens},
        "output_tokens": u.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": u.input_tokens + u.output_tokens,
    }


def _items(spoken: Spoken) -> list[dict[str, Any]]:
    status = "incomplete" if spoken.finish == "length" else "completed"
    items: list[dict[str, Any]] = []
    if spoken.text or not spoken.calls:
        part = {"type": "output_text", "text": spoken.text, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": f"msg_{spoken.id}", "role": "assistant", "status": status, "content": [part]})
    for i, c in enumerate(spoken.calls):
        item = {"type": "function_call", "id": f"fc_{spoken.id}_{i}", "call_id": c.id, "name": c.name}
        items.append({**item, "arguments": c.arguments, "status": status})
    return items


def answer(request: Request, spoken: Spoken) -> dict[str, Any]:
    """A response."""
    cut = spoken.finish == "length"
    return {
        "id": f"resp_{spoken.id}",
        "object": "response",
        "created_at": spoken.at_s,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": request.body.get("instructions"),
        "max_output_tokens": request.max_tokens,
        "model": request.model,
        "output": _items(spoken),
        "parallel_tool_calls": True,
        "tool_choice": request.body.get("tool_choice", "auto"),
        "tools": request.body.get("tools", []),
        "usage": _usage(spoken),
    }


def _message_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part = item["content"][0]
    place = {**at, "item_id": item["id"], "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _call_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {**at, "item_id": item["id"]}
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"], "name": item["name"]}


def _all_events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        at = {"output_index": index}
        is_message = item["type"] == "message"
        empty = {"content": []} if is_message else {"arguments": ""}
        yield {"type": "response.output_item.added", **at, "item": {**item, **empty, "status": "in_progress"}}
        yield from (_message_events if is_message else _call_events)(item, at)
        yield {"type": "response.output_item.done", **at, "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


def events(request: Request, spoken: Spoken) -> Iterator[bytes]:
    """response.created … response.completed events, numbered."""
    for number, event in enumerate(_all_events(answer(request, spoken))):
        yield sse({**event, "sequence_number": number}, event["type"])
