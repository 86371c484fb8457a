"""Prices: the same dollars as the public list, as integers, and never an unknown price."""

from __future__ import annotations

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import UnpricedModel
from tether.gateway.options import ModelOptions, PriceOptions
from tether.gateway.prices import PriceList, Sheet, TokenUsage

LISTED = [
    ("https://api.openai.com/v1", "gpt-4o", "openai"),
    ("https://api.openai.com/v1", "gpt-5.1", "openai"),
    ("https://api.anthropic.com", "claude-sonnet-4-5", "anthropic"),
    ("https://api.deepseek.com/v1", "deepseek-chat", "deepseek"),
]


def sheet_of(upstream: str, name: str, **more: object) -> Sheet:
    return PriceList({}).sheet(ModelOptions(alias="m", upstream=upstream, **more), name)  # type: ignore[arg-type]


@pytest.mark.parametrize(("upstream", "name", "provider"), LISTED)
@given(tokens=st.tuples(*[st.integers(0, 400_000)] * 4))
def test_costs_are_those_of_the_public_list(upstream: str, name: str, provider: str, tokens: tuple[int, int, int, int]) -> None:
    """A call costs what the public price list says, rounded up, for any mix of fresh, cached and written tokens."""
    fresh, cached, written, output = tokens
    if provider != "anthropic":
        written = 0
    usage = TokenUsage(input=fresh + cached + written, output=output, cached=cached, cache_write=written)
    ours = sheet_of(upstream, name).cost(usage)
    theirs = Usage(
        input_tokens=usage.input,
        cache_read_tokens=cached,
        output_tokens=output,
        **({"cache_write_tokens": written} if written else {}),
    )
    listed = calc_price(theirs, model_ref=name, provider_id=provider).total_price * 10**9
    assert 0 <= ours - listed < 1


@pytest.mark.parametrize(("upstream", "name", "provider"), LISTED)
@given(
    bound=st.integers(0, 400_000),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
    output_bound=st.integers(0, 100_000),
)
def test_the_bound_covers_every_call_within_it(
    upstream: str, name: str, provider: str, bound: int, shares: tuple[float, float, float, float], output_bound: int
) -> None:
    """No call within the bounds of tokens costs more than what was set aside for it."""
    del provider
    sheet = sheet_of(upstream, name)
    used = int(bound * shares[0])
    cached, written = int(used * shares[1]), int(used * (1 - shares[1]) * shares[2])
    usage = TokenUsage(
        input=used, output=int(output_bound * shares[3]), cached=cached, cache_write=written // 2, cache_write_1h=written // 2
    )
    assert sheet.cost(usage) <= sheet.most(bound, output_bound)


@given(bound=st.integers(0, 400_000), nanousd=st.integers(0, 10**10))
def test_affordable_output_is_the_largest_that_fits(bound: int, nanousd: int) -> None:
    """The output a clamp allows is paid by what is left, and one token more is not."""
    sheet = sheet_of("https://api.anthropic.com", "claude-sonnet-4-5")
    most = sheet.affordable_output(bound, nanousd)
    if most >= 0:
        assert sheet.most(bound, most) <= nanousd < sheet.most(bound, most + 1)
    else:
        assert sheet.most(bound, 0) > nanousd


@pytest.mark.parametrize("name", ["scripted", "ft:gpt-4o:mine", "gpt-99-huge"])
def test_unknown_models_are_refused(name: str) -> None:
    """A model nobody knows the price of has no price, and the refusal says what to write."""
    with pytest.raises(UnpricedModel, match=r"\[prices\."):
        sheet_of("http://127.0.0.1:1/v1", name)


def test_configured_prices_win_and_free_is_free() -> None:
    """[prices."MODEL"] wins over the list; free models cost nothing at all."""
    own = PriceOptions(input_usd_per_mtok=1.0, output_usd_per_mtok=2.5, context_window=1000, max_output=100)
    model = ModelOptions(alias="m", upstream="https://api.openai.com/v1")
    sheet = PriceList({"gpt-4o": own}).sheet(model, "gpt-4o")
    assert sheet.cost(TokenUsage(input=10, output=4)) == 20_000
    assert (sheet.context_window, sheet.max_output) == (1000, 100)
    free = sheet_of("http://127.0.0.1:1/v1", "whatever", free=True)
    assert free.most(10**9, 10**9) == 0
