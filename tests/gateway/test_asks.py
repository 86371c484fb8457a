"""Requests: what they may cost at most, and what has no bound is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tether.gateway import meter
from tether.gateway.asks import Ask, read_ask
from tether.gateway.options import ModelOptions, PriceOptions
from tether.gateway.plan import make_plan, outgoing
from tether.gateway.prices import PriceList
from tether.gateway.refusals import Refusal

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
MODELS = {"m": ModelOptions(alias="m", upstream="http://127.0.0.1:1/v1", model="big")}
PRICES = PriceList({"big": PriceOptions(input_usd_per_mtok=1, output_usd_per_mtok=1, context_window=50_000, max_output=2000)})
FREE = {"m": ModelOptions(alias="m", upstream="http://127.0.0.1:1/v1", model="small", free=True)}


def ask(body: dict[str, Any], route: str = "chat") -> Ask:
    return read_ask(route, json.dumps(body).encode())


def refused(body: dict[str, Any], route: str = "chat", **given: Any) -> str:
    with pytest.raises(Refusal) as caught:
        make_plan(ask(body, route), given.get("models", MODELS), "m", PRICES, given.get("tool_prices", {}))
    assert caught.value.status in (400, 402, 404)
    return caught.value.code


def sent(body: dict[str, Any], route: str = "chat", models: dict[str, ModelOptions] = MODELS) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    plan = make_plan(read_ask(route, raw), models, "m", PRICES, {"web_search": 10})
    return json.loads(outgoing(plan, plan.full, raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"messages": 1}',
        b'{"messages": [1]}',
        b'{"messages": [], "max_tokens": "9"}',
        b'{"messages": [], "max_tokens": -1}',
        b'{"messages": [], "Max_Tokens": 100000}',
        b'{"messages": [], "max_tokens": 1, "max_completion_tokens": 9}',
        b'{"messages": [], "n": 0}',
        b'{"messages": [], "n": 1e3}',
        b'{"messages": [], "stream": "yes"}',
        b'{"messages": [], "tools": {}}',
        b'{"messages": [{"content": [[]]}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_request_is_refused(raw: bytes) -> None:
    """A body that two readers might read differently, or that is no request at all, is refused with its reason."""
    with pytest.raises(Refusal) as caught:
        read_ask("chat", raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("route", "more", "code"),
    [
        ("chat", {"tools": [{"type": "web_search"}]}, "unpriced_tool"),
        ("chat", {"web_search_options": {"x": 1}}, "unpriced_tool"),
        ("chat", {"service_tier": "priority"}, "unpriced_option"),
        ("chat", {"modalities": ["text", "audio"]}, "unpriced_option"),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "unpriced_media",
        ),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "future_part"}]}]}, "unpriced_media"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "unpriced_tool"),
        ("messages", {"tools": [{"type": "code_execution_20250825", "name": "x"}]}, "unpriced_tool"),
        ("messages", {"tools": [{"type": "computer_20250124", "name": "x"}]}, "unpriced_tool"),
        ("messages", {"mcp_servers": [{"url": "http://x"}]}, "unpriced_tool"),
        ("messages", {"speed": "fast"}, "unpriced_option"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "unpriced_media"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]}]},
            "unpriced_media",
        ),
        ("responses", {"input": "x", "tools": [{"type": "web_search_preview"}]}, "unpriced_tool"),
        ("responses", {"input": "x", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "unpriced_tool"),
        ("responses", {"input": "x", "background": True}, "unpriced_option"),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "unpriced_media"),
        ("chat", {"model": "gpt-4o-search-preview"}, "unpriced_tool"),
        ("embeddings", {"input": {"image": "x"}}, "unpriced_media"),
    ],
)
def test_what_cannot_be_priced_is_refused(route: str, more: dict[str, Any], code: str) -> None:
    """Hosted tools, media and options without a declared price never reach the provider."""
    passing = {"any": ModelOptions(alias="any", upstream="http://127.0.0.1:1/v1")}
    assert refused({**HELLO, **more}, route, models=MODELS | passing) == code


def test_priced_tools_are_bounded() -> None:
    """A hosted tool with a price passes, with its uses bounded by the provider and its results by the window."""
    body = {**HELLO, "max_tokens": 10, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    assert sent(body, "messages")["tools"][0]["max_uses"] == 10
    plan = make_plan(ask(body, "messages"), MODELS, "m", PRICES, {"web_search": 7})
    assert plan.full.nanousd == (50_000 * 11 + 10) * 1000 + 70


def test_the_prompt_is_bounded_by_its_bytes_and_the_window() -> None:
    """The bound of input tokens is at least the bytes of the body, and never more than the model's window."""
    short, long = ask(HELLO), ask({**HELLO, "messages": [{"role": "user", "content": "é" * 100_000}]})
    sheet = PRICES.sheet(MODELS["m"], "big")
    assert short.size <= meter.bound_input(short, sheet, {}) < short.size + 100
    assert meter.bound_input(long, sheet, {}) == 50_000
    assert meter.bound_input(read_ask("chat", b" " * 60_000 + b'{"messages": []}', long_prompt=True), sheet, {}) > 60_000
    assert meter.bound_input(ask({"input": "x", "previous_response_id": "r"}, "responses"), sheet, {}) == 50_000


def test_bytes_are_untouched_when_nothing_must_change() -> None:
    """A request that names the server's model and its maximum goes out byte for byte."""
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9"}],\n "model":"big", "max_tokens": 7, "seed": 1.50 }'
    plan = make_plan(read_ask("chat", raw), MODELS, "m", PRICES, {})
    assert outgoing(plan, plan.full, raw) is raw


def test_a_key_twice_is_sent_once() -> None:
    """Of two equal keys the server gets the one that was metered, as it might have read the other one."""
    raw = b'{"model": "big", "messages": [], "max_tokens": 100000, "max_tokens": 1}'
    plan = make_plan(read_ask("chat", raw), MODELS, "m", PRICES, {})
    assert plan.full.max_output == 1
    assert outgoing(plan, plan.full, raw) == b'{"model":"big","messages":[],"max_tokens":1}'


def test_only_what_metering_needs_is_changed() -> None:
    """The alias becomes the server's name, a missing maximum is set, a stream reports its usage; nothing else changes."""
    body = {**HELLO, "temperature": 0.1, "stream": True, "x": [1, None]}
    assert sent(body) == {**body, "model": "big", "max_tokens": 2000, "stream_options": {"include_usage": True}}
    official = {"m": ModelOptions(alias="m", upstream="https://api.openai.com/v1", model="big")}
    assert sent(HELLO, models=official)["max_completion_tokens"] == 2000
    assert sent(HELLO, models=FREE) == {**HELLO, "model": "small"}


def test_models_are_found_by_alias_name_and_passing_entries() -> None:
    """An alias, a server's own name, or a model entry without a name; any other is refused and the configured ones listed."""
    passing = {"any": ModelOptions(alias="any", upstream="https://api.openai.com/v1")}
    assert make_plan(ask({**HELLO, "model": "big"}), MODELS, "m", PRICES, {}).model.alias == "m"
    assert make_plan(ask({**HELLO, "model": None}), MODELS, "m", PRICES, {}).name == "big"
    assert make_plan(ask({**HELLO, "model": "gpt-4o"}), MODELS | passing, "m", PRICES, {}).name == "gpt-4o"
    assert refused({**HELLO, "model": "gpt-4o"}) == "model_not_found"
    assert refused({**HELLO, "model": "gpt-77"}, models=passing) == "unpriced_model"
    assert refused({**HELLO, "model": "any"}, "messages", models=passing) == "unknown_route"


def test_clamping_leaves_the_floor() -> None:
    """Scarce money shortens the answer to the floor and never under allowed thinking; a wish under the floor is its own floor."""
    plan = make_plan(ask({**HELLO, "max_tokens": 2000}), MODELS, "m", PRICES, {})

    def clamped(output: int, floor: int = 256) -> int | None:
        left = meter.Left(nanousd=plan.sheet.most(plan.full.input_bound, output), tokens=10**9)
        hold = meter.clamp(plan.ask, plan.sheet, plan.full, left, floor)
        return None if hold is None else hold.max_output

    assert [clamped(5000), clamped(300), clamped(256), clamped(255)] == [2000, 300, 256, None]
    thinking = make_plan(
        ask({**HELLO, "max_tokens": 2000, "thinking": {"budget_tokens": 1024}}, "messages"), MODELS, "m", PRICES, {}
    )
    scarce = meter.Left(nanousd=thinking.sheet.most(thinking.full.input_bound, 1000), tokens=10**9)
    assert meter.clamp(thinking.ask, thinking.sheet, thinking.full, scarce, 256) is None
    tokens = meter.Left(nanousd=10**12, tokens=plan.full.input_bound + 400)
    hold = meter.clamp(plan.ask, plan.sheet, plan.full, tokens, 256)
    assert hold is not None
    assert hold.tokens == tokens.tokens
