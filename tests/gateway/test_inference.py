"""What model requests tell of an agent: steps, tool calls and their ends, in the shapes of both vendors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tether.gateway.inference import Seen, SeenTool, Traffic

GOAL = {"role": "user", "content": "find the harbour"}
SYSTEM = {"role": "system", "content": "You are an agent."}


def see(traffic: Traffic, route: str, items: list[Any], **more: Any) -> Seen | None:
    """One request with these messages."""
    body = {"model": "m", "input" if route == "responses" else "messages": items, **more}
    return traffic.see(route, body, json.dumps(body).encode())


def chat_turn(result: str, number: int = 1, name: str = "look") -> list[dict[str, Any]]:
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": '{"at": "map"}'}}
    asked = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    return [asked, {"role": "tool", "tool_call_id": f"call_{number}", "content": result}]


def anthropic_turn(result: str, number: int = 1, **more: Any) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": f"call_{number}", "name": "look", "input": {"at": "map"}}
    asked = {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]}
    answer = {"type": "tool_result", "tool_use_id": f"call_{number}", "content": [{"type": "text", "text": result}], **more}
    return [asked, {"role": "user", "content": [answer]}]


def responses_turn(result: str, number: int = 1) -> list[dict[str, Any]]:
    call = {"type": "function_call", "call_id": f"call_{number}", "name": "look", "arguments": '{"at": "map"}'}
    return [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        call,
        {"type": "function_call_output", "call_id": f"call_{number}", "output": result},
    ]


TURNS = {"chat": chat_turn, "messages": anthropic_turn, "responses": responses_turn}


@pytest.mark.parametrize("route", TURNS)
def test_a_growing_history_is_steps_and_tool_calls(route: str) -> None:
    """Every longer history is a step, and brings the calls that ended since, each once, with arguments and result."""
    traffic, turn = Traffic(), TURNS[route]
    first = see(traffic, route, [GOAL])
    assert first is not None
    assert (first.grew, first.tools) == (False, ())
    history = [GOAL, *turn("two harbours", 1)]
    second = see(traffic, route, history)
    assert second is not None
    assert (second.grew, second.talk, second.thought) == (True, first.talk, "I look.")
    (tool,) = second.tools
    assert (tool.call_id, tool.name, tool.args, tool.result, tool.error) == (
        "call_1",
        "look",
        {"at": "map"},
        "two harbours",
        None,
    )
    third = see(traffic, route, [*history, *turn("the old one", 2)])
    assert third is not None
    assert [each.call_id for each in third.tools] == ["call_2"]


def test_the_same_request_again_is_no_step() -> None:
    """A client that repeats its request does nothing new."""
    traffic = Traffic()
    assert see(traffic, "chat", [SYSTEM, GOAL]) is not None
    assert see(traffic, "chat", [SYSTEM, GOAL]) is None
    assert see(traffic, "embeddings", [SYSTEM, GOAL]) is None


def test_another_conversation_does_not_go_on_with_one() -> None:
    """A side question has a conversation of its own."""
    traffic = Traffic()
    first, other = see(traffic, "chat", [SYSTEM, GOAL]), see(traffic, "chat", [{"role": "user", "content": "summarise this"}])
    assert first is not None
    assert other is not None
    assert first.talk != other.talk
    assert not other.grew


def test_parallel_calls_are_all_seen() -> None:
    """Several calls of one answer are matched to their results by id, whatever stands behind them."""
    one, two = chat_turn("a", 1), chat_turn("b", 2)
    asked = {"role": "assistant", "tool_calls": one[0]["tool_calls"] + two[0]["tool_calls"]}
    seen = see(Traffic(), "chat", [GOAL, asked, two[1], one[1], {"role": "user", "content": "go on"}])
    assert seen is not None
    assert {(tool.call_id, tool.result) for tool in seen.tools} == {("call_1", "a"), ("call_2", "b")}


def test_an_older_history_is_not_told_again() -> None:
    """An agent that comes back with its history reports only what is new at its end."""
    history = [GOAL, *chat_turn("a", 1), *chat_turn("b", 2), *chat_turn("c", 3)]
    seen = see(Traffic(), "chat", history)
    assert seen is not None
    assert [tool.call_id for tool in seen.tools] == ["call_3"]


@pytest.mark.parametrize(
    ("result", "fails"),
    [
        ("Error: no such file", True),
        ("An error occurred while running the tool. Please try again.", True),
        ("Traceback (most recent call last):\n …", True),
        ('{"error": "not found"}', True),
        ("2 validation errors\n\nFix the errors and try again.", True),
        ('{"error": null, "rows": 3}', False),
        ("The error rate is 3 %", False),
        ("", False),
    ],
)
def test_a_failed_call_is_told_from_its_text(result: str, fails: bool) -> None:
    """OpenAI's histories have no mark for a failure; the usual ways to write one are known, and talk of errors is none."""
    seen = see(Traffic(), "chat", [GOAL, *chat_turn(result)])
    assert seen is not None
    assert (seen.tools[0].error is not None) is fails


def test_anthropic_marks_failures_itself() -> None:
    """is_error decides, whatever the text says."""
    for flag in (True, False):
        seen = see(Traffic(), "messages", [GOAL, *anthropic_turn("Error: hm", is_error=flag)])
        assert seen is not None
        assert (seen.tools[0].error is not None) is flag


def test_long_results_are_cut_and_known_by_their_digest() -> None:
    """A result is shown in part; two that differ at their end are told apart."""
    tools: list[SeenTool] = []
    for end in ("a", "b"):
        seen = see(Traffic(), "chat", [GOAL, *chat_turn("x" * 100_000 + end)])
        assert seen is not None
        tools += seen.tools
    assert len(tools[0].result) < 10_000
    assert tools[0].digest != tools[1].digest


@pytest.mark.parametrize(
    "items",
    [
        "not a list",
        [],
        [1, None, "x"],
        [{"role": "assistant", "tool_calls": 5, "function_call": 3}, {"role": "tool", "content": {}}],
        [{"role": "assistant", "tool_calls": [{"function": "x"}], "content": 7}, {"role": ["tool"]}],
        [{"role": "tool"}],
        [
            {"role": "assistant", "tool_calls": [1, {"function": {"arguments": "{"}}]},
            {"role": "tool", "content": [1, {"text": 2}]},
        ],
        [{"role": "user", "content": [{"type": "tool_result"}, 3]}],
        [{"type": "function_call_output", "output": {"a": 1}}],
    ],
)
def test_odd_requests_are_no_trouble(items: Any) -> None:
    """Whatever a client sends, reading it never fails: the call itself is the provider's to judge."""
    for route in TURNS:
        see(Traffic(), route, items)
