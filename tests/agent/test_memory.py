"""The built-in agent's memory: what is sent, how large it is, and how it shrinks."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ThinkingPart, ToolCallPart, ToolReturnPart
from pydantic_ai.usage import RequestUsage

from tether.agent.failure import AgentFailed
from tether.agent.memory import Memory


def turn(n: int, result: str, content: str = "", usage: RequestUsage | None = None) -> list[Any]:
    """One answer with a call, and what the call returned."""
    args = json.dumps({"thought": f"think {n}", "content": content})
    asked = ModelResponse(
        parts=[
            ThinkingPart(content="deep", signature="signed"),
            ToolCallPart(tool_name="tool", args=args, tool_call_id=f"id{n}"),
        ],
        usage=usage or RequestUsage(),
    )
    return [asked, ModelRequest(parts=[ToolReturnPart(tool_name="tool", content=result, tool_call_id=f"id{n}")])]


def filled(turns: list[tuple[str, str]]) -> Memory:
    memory = Memory("system", "the goal", fixed_chars=100)
    for n, (result, content) in enumerate(turns):
        for message in turn(n, result, content):
            memory.add(message)
    return memory


def said(memory: Memory) -> str:
    return json.dumps([[str(getattr(p, "content", "")) for p in m.parts] for m in memory.request()])


texts = st.text(alphabet="aü漢 ", max_size=3000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=12), st.integers(200, 5000), st.sampled_from([0.2, 0.5]))
def test_a_shrunk_memory_is_a_valid_conversation_that_fits(turns: list[tuple[str, str]], window: int, share: float) -> None:
    """Whatever was said: the goal stays, every result has its call, the last turn stays, and it fits or says that it does not."""
    memory = filled(turns)
    fits = memory.shrink(window, share)
    assert fits == (memory.tokens() <= window)
    request = memory.request()
    assert "the goal" in said(memory)
    calls = {p.tool_call_id for m in request for p in m.parts if isinstance(p, ToolCallPart)}
    results = {p.tool_call_id for m in request for p in m.parts if isinstance(p, ToolReturnPart)}
    assert calls == results
    assert f"id{len(turns) - 1}" in calls
    kinds = [type(m) for m in request]
    assert all(a != b for a, b in itertools.pairwise(kinds)), "user and model take turns"
    assert Memory.restored(memory.state(), fixed_chars=100).state() == memory.state()


def test_a_large_memory_fits_a_fair_window() -> None:
    """A hundred long turns fit 4,000 tokens after shrinking; dropped steps are remembered in a line each, the latest stays."""
    memory = filled([("result " * 300, "") for _ in range(99)] + [("the last result", "")])
    assert memory.shrink(4_000, 0.5)
    assert memory.tokens() <= 2_100
    text = said(memory)
    assert "the last result" in text
    assert "What you did earlier" in text
    assert "think 98" not in text.split("What you did earlier")[0]


def test_old_results_are_shortened_before_anything_is_dropped() -> None:
    """When that is enough, every step is still there."""
    memory = filled([("word " * 400, "") for _ in range(6)])
    assert memory.shrink(6_000, 0.4)
    assert len(memory.call_ids) == 6
    assert "(shortened)" in said(memory)
    assert not memory.digest


def test_a_long_argument_is_shortened_too_and_a_signed_thought_never() -> None:
    """A file written long ago need not be remembered whole; a signature must stay with what it signs."""
    memory = filled([("ok", "x" * 5000) for _ in range(5)])
    assert memory.shrink(4_000, 0.5)
    thoughts = [p for m in memory.request() for p in m.parts if isinstance(p, ThinkingPart)]
    assert thoughts
    assert all((p.content, p.signature) == ("deep", "signed") for p in thoughts)


def test_a_window_too_small_for_the_goal_is_told() -> None:
    """Nothing is cut from goal or instructions to make them fit."""
    memory = Memory("system", "the goal " * 1000, fixed_chars=0)
    assert not memory.shrink(1_000, 0.5)
    assert "the goal the goal" in said(memory)


def test_the_size_is_the_providers_count_and_a_guess_for_the_rest() -> None:
    """After an answer its usage counts; only what came since is estimated, and dense text teaches a denser guess."""
    memory = Memory("system", "goal " * 70, fixed_chars=0)
    guessed = memory.tokens()
    assert 100 <= guessed <= 130
    asked, returned = turn(0, "x" * 350, usage=RequestUsage(input_tokens=300, output_tokens=40))
    memory.add(asked)
    assert memory.tokens() == 340
    memory.add(returned)
    assert memory.tokens() > 340 + 100
    memory.shrink(10_000, 0.9)
    assert memory.tokens() > guessed, "the guess learned from the count"


def test_only_new_messages_are_saved_until_old_ones_change() -> None:
    """A delta while the conversation grows, the whole after it was shrunk."""
    memory = filled([("a", ""), ("b", "")])
    assert memory.unsaved()[1], "the first checkpoint is whole"
    memory.saved()
    assert memory.unsaved() == ([], False)
    memory.add(turn(2, "c")[0])
    new, whole = memory.unsaved()
    assert (len(new), whole) == (1, False)
    memory.saved()
    memory.shrink(100, 0.5)
    assert memory.unsaved()[1]


def test_notes_go_with_the_next_request_and_user_and_model_take_turns() -> None:
    """Notes join what is to be sent; after a kept answer they are a message of their own."""
    memory = Memory("system", "goal")
    memory.note("one")
    memory.note("two")
    assert len(memory.request()) == 1
    memory.add(ModelResponse(parts=[TextPart(content="hm")]))
    assert memory.pending is not None
    memory.saved()
    memory.note("three")
    assert memory.pending is None
    assert [len(m.parts) for m in memory.request()] == [4, 1, 1]


def test_a_checkpoint_of_another_format_is_refused() -> None:
    """A state nobody here wrote is an error with the numbers, not a crash."""
    with pytest.raises(AgentFailed, match="format 9"):
        Memory.restored({"version": 9})
