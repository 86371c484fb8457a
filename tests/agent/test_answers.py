"""Reading what a model answered, also when it did not keep to the form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart

from tether.agent.answers import read, tidied

TOOLS = {"write_file", "finish"}
CALL = {"path": "a", "content": "b"}


def said(text: str) -> ModelResponse:
    return ModelResponse(parts=[TextPart(content=text)])


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"name": "write_file", "arguments": CALL}),
        json.dumps({"tool": "write_file", "args": CALL}),
        json.dumps({"function": "write_file", "parameters": json.dumps(CALL)}),
        "I will write it.\n```json\n" + json.dumps({"name": "write_file", "arguments": CALL}, indent=2) + "\n```\nDone!",
        "<tool_call>\n" + json.dumps({"name": "write_file", "arguments": CALL}) + "\n</tool_call>",
        'First {not json}, then {"x": 1} and ' + json.dumps({"name": "write_file", "arguments": CALL}),
    ],
)
def test_a_call_in_the_text_is_found(text: str) -> None:
    """Bare, fenced, tagged, with other words for name and arguments, after other braces: it is the same call."""
    answer = read(tidied(said(text), TOOLS, ()), {})
    assert [(call.name, call.args, call.problem) for call in answer.calls] == [("write_file", CALL, None)]
    assert "```" not in answer.thoughts
    assert "tool_call" not in answer.thoughts


@pytest.mark.parametrize(
    "text", ["", "{", "no call", '{"name": "unknown", "arguments": {}}', '{"name": 5}', '["write_file"]', "{" * 5000]
)
def test_what_is_no_call_stays_text(text: str) -> None:
    """Other JSON, unknown names and broken braces are not taken for a call."""
    assert read(tidied(said(text), TOOLS, ()), {}).calls == ()


@given(st.text(alphabet='{}[]":,abc \\\n', max_size=200))
def test_no_text_breaks_the_reading(text: str) -> None:
    """Whatever a model writes is read without an error."""
    read(tidied(said(text), TOOLS, ()), {})


def test_thoughts_come_from_text_reasoning_and_arguments() -> None:
    """All three places a model may think in are shown; reflection is taken out of the arguments unless it is the tool's own."""
    args = {"thought": "c", "plan": ["d", 5, ""], "criticism": "e", "x": 1}
    parts: list[Any] = [
        ThinkingPart(content="a"),
        TextPart(content=" b "),
        ToolCallPart(tool_name="t", args=args, tool_call_id="1"),
    ]
    answer = read(ModelResponse(parts=parts), {})
    assert (answer.thoughts, answer.plan, answer.criticism) == ("a\nb\nc", ("d", "5"), "e")
    assert answer.calls[0].args == {"x": 1}
    assert read(ModelResponse(parts=parts), {"t": ("plan",)}).calls[0].args == {"plan": ["d", 5, ""], "x": 1}


@pytest.mark.parametrize(
    ("args", "finish", "problem"),
    [
        ('{"a": ', None, "not JSON"),
        ('{"a": ', "length", "cut off"),
        ("[1]", None, "not an object"),
        ('"text"', None, "not an object"),
    ],
)
def test_arguments_that_cannot_be_read_are_explained(args: str, finish: Any, problem: str) -> None:
    """The call is kept with the reason, so that the model can be told."""
    response = ModelResponse(parts=[ToolCallPart(tool_name="t", args=args, tool_call_id="1")], finish_reason=finish)
    call = read(response, {}).calls[0]
    assert call.problem is not None
    assert problem in call.problem


@pytest.mark.parametrize("args", [None, "", "  ", {}])
def test_no_arguments_are_fine(args: Any) -> None:
    """A tool without arguments is called with none."""
    call = read(ModelResponse(parts=[ToolCallPart(tool_name="t", args=args, tool_call_id="1")]), {}).calls[0]
    assert (call.args, call.problem) == ({}, None)


def test_every_call_gets_an_id_of_its_own() -> None:
    """Ids that a server counts anew in every answer, repeats or leaves out are replaced; long unique ones stay."""
    ids = ["call_0", "call_0", "", "x" * 99, "call_abcdef123", "call_abcdef123", "used_before_9"]
    parts = [ToolCallPart(tool_name="t", args={}, tool_call_id=i) for i in ids]
    made = [
        part.tool_call_id
        for part in tidied(ModelResponse(parts=parts), TOOLS, {"used_before_9"}).parts
        if isinstance(part, ToolCallPart)
    ]
    assert len(set(made)) == len(ids)
    assert made[4] == "call_abcdef123"
    assert "used_before_9" not in made
