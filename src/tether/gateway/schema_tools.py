"""`tools = "schema"`: for servers whose tool calling does not bind the model. The request's tools become one JSON schema of
alternatives that the server enforces as a grammar; the model's JSON becomes tool calls again. Pure.

Arguments that every tool asks for first (the built-in agent's `thought`) come before the tool's name: a model writes from left
to right, and thinks of more than the tool it has already named.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, cast

__all__ = ["events", "restore", "rewrite"]

_LONGEST_TEXT = 4000  # a small model in a free-text field may never stop by itself
_LONGEST_REPLY = 8000


def rewrite(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request without tools that asks for the same decision as JSON; never streamed."""
    left_out = ("tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options", "functions", "function_call")
    out = {key: value for key, value in body.items() if key not in left_out}
    tools = [tool["function"] for tool in body["tools"] if tool.get("type", "function") == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        wanted = cast("dict[str, Any]", choice).get("function", {}).get("name")
        tools = [tool for tool in tools if tool["name"] == wanted] or tools
    if choice == "none" or not tools:
        return {**out, "messages": list(_messages(body["messages"], "", {}))}
    may_reply = choice == "auto"
    first = _first(tools)
    out["messages"] = list(_messages(body["messages"], _instructions(tools, first, may_reply), first))
    out["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "act", "strict": True, "schema": _schema(tools, first, may_reply)},
    }
    return out


def _first(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The required arguments with which every tool begins, by name, when there is more than one tool to choose from."""
    if len(tools) < 2:
        return {}
    first: dict[str, Any] = {}
    lists = [list(_parameters(tool).get("properties", {}).items()) for tool in tools]
    for same in zip(*lists, strict=False):
        name, schema = same[0]
        if any(pair != same[0] for pair in same) or any(name not in _parameters(t).get("required", ()) for t in tools):
            break
        first[name] = schema
    return {} if {"tool", "args", "reply"} & set(first) else first


def _schema(tools: list[dict[str, Any]], first: dict[str, Any], may_reply: bool) -> dict[str, Any]:
    before = {name: _bounded(schema) for name, schema in first.items()}
    alternatives = [
        _object({**before, "tool": {"const": tool["name"]}, "args": _bounded(_others(tool, first))}) for tool in tools
    ]
    if may_reply:
        alternatives.append(_object({"reply": {"type": "string", "maxLength": _LONGEST_REPLY}}))
    return {"anyOf": alternatives}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _parameters(tool: Mapping[str, Any]) -> dict[str, Any]:
    return tool.get("parameters") or {"type": "object", "properties": {}}


def _others(tool: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """The tool's parameters without those that come before its name."""
    whole = _parameters(tool)
    if not first:
        return whole
    own = {name: schema for name, schema in whole.get("properties", {}).items() if name not in first}
    return {**whole, "properties": own, "required": [name for name in whole.get("required", ()) if name not in first]}


def _bounded(schema: Any) -> Any:
    """The schema with every free text bounded."""
    if isinstance(schema, list):
        return [_bounded(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    out = {key: _bounded(value) for key, value in cast("dict[str, Any]", schema).items()}
    if out.get("type") == "string" and not {"enum", "const", "maxLength", "format", "pattern"} & set(out):
        out["maxLength"] = _LONGEST_TEXT
    return out


def _instructions(tools: list[dict[str, Any]], first: Mapping[str, Any], may_reply: bool) -> str:
    lines = ["You act by calling tools. The tools:"]
    for tool in tools:
        arguments = json.dumps(_others(tool, first).get("properties", {}), ensure_ascii=False, separators=(",", ":"))
        lines.append(f"- {tool['name']}: {tool.get('description') or ''} Arguments: {arguments}")
    before = "".join(f'"{name}": {_told(schema)}, ' for name, schema in first.items())
    answer = f'Answer with one JSON object only: {{{before}"tool": "name", "args": {{…}}}}'
    lines.append(answer + (' to call a tool, or {"reply": "text"} to answer.' if may_reply else "."))
    return "\n".join(lines)


def _told(schema: Any) -> str:
    """A value's place in the form shown to the model."""
    text = cast("dict[str, Any]", schema).get("description") if isinstance(schema, dict) else None
    return json.dumps(text, ensure_ascii=False) if text else "…"


def _messages(messages: list[dict[str, Any]], instructions: str, first: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One system message in front, tool calls as the model's own JSON, tool results as the user's words."""
    system = [_text(m.get("content")) for m in messages if m.get("role") in ("system", "developer")]
    opening = "\n\n".join(part for part in (*system, instructions) if part)
    if opening:
        yield {"role": "system", "content": opening}
    names: dict[str, str] = {}
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            continue
        if role == "tool":
            name = names.get(message.get("tool_call_id", ""), "tool")
            yield {"role": "user", "content": f"Result of {name}: {_text(message.get('content'))}"}
        elif message.get("tool_calls"):
            for called in message["tool_calls"]:
                function = called["function"]
                names[called.get("id", "")] = function["name"]
                arguments = _arguments(function)
                before = {key: arguments.pop(key) for key in first if key in arguments}
                acted = {**before, "tool": function["name"], "args": arguments}
                yield {"role": "assistant", "content": json.dumps(acted, ensure_ascii=False)}
        else:
            yield {"role": role, "content": message.get("content")}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, list) else []
    return "".join(part.get("text", "") for part in parts if isinstance(part, dict))


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except ValueError:
        arguments = None
    return cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {"text": function["arguments"]}


def restore(document: dict[str, Any]) -> dict[str, Any]:
    """The answer with the model's JSON turned into a tool call or plain text; what is neither stays text."""
    for choice in document.get("choices", []):
        message = choice.get("message", {})
        acted = _acted(message.get("content"))
        if isinstance(acted.get("tool"), str):
            before = {key: value for key, value in acted.items() if key not in ("tool", "args")}
            arguments = json.dumps(_with(before, acted.get("args", {})), ensure_ascii=False)
            called = {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function"}
            message |= {"content": None, "tool_calls": [{**called, "function": {"name": acted["tool"], "arguments": arguments}}]}
            choice["finish_reason"] = "tool_calls"
        elif isinstance(acted.get("reply"), str):
            message["content"] = acted["reply"]
    return document


def _with(before: dict[str, Any], arguments: Any) -> Any:
    return {**before, **cast("dict[str, Any]", arguments)} if isinstance(arguments, dict) else arguments


def _acted(content: Any) -> dict[str, Any]:
    try:
        acted = json.loads(content)
    except (ValueError, TypeError):
        return {}
    return cast("dict[str, Any]", acted) if isinstance(acted, dict) else {}


def events(document: Mapping[str, Any], wants_usage: bool) -> bytes:
    """A whole chat answer as the stream its caller asked for."""
    head = {key: document.get(key) for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks: list[dict[str, Any]] = []
    for choice in document.get("choices", []):
        message = choice.get("message", {})
        delta = {"role": "assistant", "content": message.get("content")}
        if message.get("tool_calls"):
            delta["tool_calls"] = [{"index": i, **called} for i, called in enumerate(message["tool_calls"])]
        index = choice.get("index", 0)
        chunks.append({**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        chunks.append({**head, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}]})
    if wants_usage:
        chunks.append({**head, "choices": [], "usage": document.get("usage")})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
