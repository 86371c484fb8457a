"""tools = "schema": tools become a schema of alternatives, the model's JSON becomes tool calls."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from tether.gateway import schema_tools

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "write_file",
            "description": "Write a file.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "mode": {"enum": ["a", "w"]}},
                "required": ["path"],
            },
        },
    },
    {"type": "function", "function": {"name": "finish"}},
]
BODY: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "tools": TOOLS,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Go."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "write_file", "arguments": '{"path": "x"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "done"}]},
    ],
}


def answer(content: str) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}


def schema_of(body: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(body["response_format"]["json_schema"]["schema"])


def test_tools_become_alternatives_of_a_schema() -> None:
    """The schema takes each tool with its own arguments, or a reply, and nothing else; every free text is bounded."""
    out = schema_tools.rewrite(BODY)
    assert not {"tools", "stream", "tool_choice"} & set(out)
    schema = schema_of(out)
    assert schema.is_valid({"tool": "write_file", "args": {"path": "x"}})
    assert schema.is_valid({"tool": "finish", "args": {}})
    assert schema.is_valid({"reply": "no"})
    assert not schema.is_valid({"tool": "write_file", "args": {}})
    assert not schema.is_valid({"tool": "rm", "args": {}})
    assert not schema.is_valid({"reply": "x" * 100_000})


def test_tool_choice_is_kept() -> None:
    """A required tool leaves no reply, a named one leaves no other tool, "none" leaves no schema."""
    required = schema_of(schema_tools.rewrite({**BODY, "tool_choice": "required"}))
    assert not required.is_valid({"reply": "no"})
    named = schema_of(schema_tools.rewrite({**BODY, "tool_choice": {"type": "function", "function": {"name": "finish"}}}))
    assert not named.is_valid({"tool": "write_file", "args": {"path": "x"}})
    assert "response_format" not in schema_tools.rewrite({**BODY, "tool_choice": "none"})


def test_the_conversation_stays_readable_for_the_model() -> None:
    """Earlier tool calls and their results stand in the conversation in the form the model is asked to use."""
    messages = schema_tools.rewrite(BODY)["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Be brief.")
    assert json.loads(messages[2]["content"]) == {"tool": "write_file", "args": {"path": "x"}}
    assert messages[3]["content"] == "Result of write_file: done"


def test_what_every_tool_asks_first_comes_before_its_name() -> None:
    """The model thinks before it names a tool; its caller sees the thought among the arguments, now and in the conversation."""
    thought = {"type": "string", "description": "why"}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": _thinking(thought, **own)}}
        for name, own in {"look": {"path": {"type": "string"}}, "finish": {}}.items()
    ]
    said = {"function": {"name": "look", "arguments": '{"thought": "so", "path": "x"}'}, "id": "c2", "type": "function"}
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "tool_calls": [said]}]
    out = schema_tools.rewrite({"model": "m", "tools": tools, "tool_choice": "required", "messages": messages})
    acted = {"thought": "so", "tool": "look", "args": {"path": "x"}}
    assert schema_of(out).is_valid(acted)
    assert not schema_of(out).is_valid({"tool": "look", "args": {"path": "x"}})
    first = out["response_format"]["json_schema"]["schema"]["anyOf"][0]
    assert (list(first["properties"]), first["properties"]["args"]["required"]) == (["thought", "tool", "args"], ["path"])
    assert json.loads(out["messages"][-1]["content"]) == acted
    made = schema_tools.restore(answer(json.dumps(acted)))["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(made["arguments"]) == {"thought": "so", "path": "x"}


def _thinking(thought: dict[str, str], **own: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": {"thought": thought, **own}, "required": ["thought", *own]}


def test_json_becomes_a_tool_call_and_anything_else_stays() -> None:
    """A tool object becomes a call, a reply becomes text, and what is neither is passed on as the model said it."""
    made = schema_tools.restore(answer('{"tool": "finish", "args": {"é": 1}}'))["choices"][0]
    assert made["finish_reason"] == "tool_calls"
    assert json.loads(made["message"]["tool_calls"][0]["function"]["arguments"]) == {"é": 1}
    assert schema_tools.restore(answer('{"reply": "hi"}'))["choices"][0]["message"]["content"] == "hi"
    for odd in ("plain", "[1]", '{"tool": 1}', ""):
        assert schema_tools.restore(answer(odd))["choices"][0]["message"]["content"] == odd
