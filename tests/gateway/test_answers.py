"""Answers: usage in every shape, streams passed on byte for byte."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.gateway.answers import EventMeter, usage_of
from tether.gateway.prices import TokenUsage


@pytest.mark.parametrize(
    ("usage", "want"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2}, TokenUsage(input=9, output=2)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 4}},
            TokenUsage(input=9, output=2, cached=4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 30}, TokenUsage(input=9, output=21)),
        ({"prompt_tokens": 5, "total_tokens": 5}, TokenUsage(input=5, output=0)),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 3}},
            TokenUsage(input=9, output=2, cached=3),
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_1h_input_tokens": 4},
                "server_tool_use": {"web_search_requests": 2},
            },
            TokenUsage(input=9, output=2, cached=3, cache_write=1, cache_write_1h=4, uses={"web_search": 2}),
        ),
        ({}, None),
        (None, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": "9", "completion_tokens": -2}, None),
    ],
)
def test_usage_is_read_in_every_shape(usage: object, want: TokenUsage | None) -> None:
    """Cached, written and reasoning tokens of all three APIs are counted; a report not worth trusting counts as none."""
    assert usage_of({"usage": usage}) == want


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


CHAT = [
    {"choices": [{"delta": {"content": "a\n\nb"}}], "usage": None},
    {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None, "model": "big"},
]
LAST = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


@given(cuts=st.lists(st.integers(0, 400), max_size=12), asked=st.booleans(), crlf=st.booleans())
def test_streams_pass_unchanged_but_for_the_usage_nobody_asked_for(cuts: list[int], asked: bool, crlf: bool) -> None:
    """However the bytes arrive, the caller gets them less the usage chunk it did not ask for, and the usage is read."""
    stream, plain = sse(*CHAT, LAST, b"[DONE]"), sse(*CHAT, b"[DONE]")
    if crlf:
        stream, plain = (text.replace(b"\n\n", b"\r\n\r\n") for text in (stream, plain))
    events = EventMeter(strip=not asked)
    places = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    out = b"".join(events.feed(stream[a:b]) for a, b in itertools.pairwise(places)) + events.rest()
    assert out == (stream if asked else plain)
    assert events.usage == TokenUsage(input=9, output=2)
    assert (events.finish, events.model, events.done) == ("stop", "big", True)


def test_anthropic_streams_are_metered() -> None:
    """Input tokens come at the start and output tokens at the end; both are counted, and only a stream that ended counts."""
    start = {"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 7, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
    events = EventMeter(strip=True)
    assert events.feed(sse(start)) == sse(start)
    assert events.usage is None
    assert events.feed(sse(end)) == sse(end)
    assert (events.usage, events.finish, events.model) == (TokenUsage(input=7, output=5), "end_turn", "c")


def test_responses_streams_are_metered() -> None:
    """The last event of a Responses stream carries its usage."""
    events = EventMeter(strip=False)
    events.feed(sse({"type": "response.created", "response": {"usage": None, "status": "in_progress"}}))
    usage = {"input_tokens": 3, "output_tokens": 4}
    events.feed(sse({"type": "response.completed", "response": {"usage": usage, "status": "completed", "output": []}}))
    assert (events.usage, events.finish) == (TokenUsage(input=3, output=4), "completed")


def test_a_cut_stream_has_no_usage() -> None:
    """Running totals of a stream that never ended are not its usage."""
    events = EventMeter(strip=True)
    events.feed(sse({"choices": [{"delta": {}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}))
    assert events.usage is None
