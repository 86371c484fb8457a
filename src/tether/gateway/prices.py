"""What a model costs, compiled to integers: the configuration's prices first, then the public list of genai-prices.

A rate is pico-dollars per token (1 USD per million tokens = 1,000,000), so the cheapest list prices stay whole numbers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from tether.errors import UnpricedModel
from tether.gateway.options import ModelOptions, PriceOptions

__all__ = ["PriceList", "Rates", "Sheet", "TokenUsage", "load_list"]

_PICO_PER_MTOK = 1_000_000
_RELOAD_S = 300.0  # some list prices depend on the hour and the date
_TEXT_UNITS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok", "output_reasoning_mtok")

# The list has no largest answers; a provider refuses a larger number than its own, so these are its documented ones.
_MAX_OUTPUT = {
    "gpt-3.5": 4096,
    "gpt-4-turbo": 4096,
    "gpt-4o": 16384,
    "gpt-4.1": 32768,
    "gpt-4": 8192,
    "gpt-5": 128_000,
    "o1": 100_000,
    "o3": 100_000,
    "o4": 100_000,
    "claude-3-5": 8192,
    "claude-3-7": 64_000,
    "claude-3": 4096,
    "claude": 32_000,
}


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """Tokens a provider reported; input counts the cached ones too, output the reasoning; uses: hosted tool → times."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    uses: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Pico-dollars per token, for prompts longer than `above` tokens."""

    above: int = 0
    input: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The price of one model: rates by prompt length, a fee per request, tokens of one medium; windows in tokens or None."""

    rates: tuple[Rates, ...]
    request_nanousd: int = 0
    media_tokens: int | None = None
    context_window: int | None = None
    max_output: int | None = None
    free: bool = False

    def cost(self, usage: TokenUsage) -> int:
        """Nano-dollars of what was used, rounded up."""
        rates = next((r for r in reversed(self.rates) if usage.input > r.above), self.rates[0])
        cached = min(usage.cached, usage.input)
        long_write = min(usage.cache_write_1h, usage.input - cached)
        write = min(usage.cache_write, usage.input - cached - long_write)
        plain = usage.input - cached - write - long_write
        pico = plain * rates.input + cached * rates.cached + write * rates.cache_write + long_write * rates.cache_write_1h
        return self.request_nanousd + -(-(pico + usage.output * rates.output) // 1000)

    def most(self, input_bound: int, output_bound: int) -> int:
        """Nano-dollars of at most that many tokens: the dearest rates that a prompt of up to `input_bound` can meet."""
        dearest_in, dearest_out = self._dearest(input_bound)
        return self.request_nanousd + -(-(input_bound * dearest_in + output_bound * dearest_out) // 1000)

    def affordable_output(self, input_bound: int, nanousd: int) -> int:
        """Output tokens that `nanousd` still pays after the prompt; may be negative."""
        dearest_in, dearest_out = self._dearest(input_bound)
        left = (nanousd - self.request_nanousd) * 1000 - input_bound * dearest_in
        if dearest_out == 0:
            return 10**9 if left >= 0 else -1
        return left // dearest_out

    def _dearest(self, input_bound: int) -> tuple[int, int]:
        met = [r for r in self.rates if r.above == 0 or input_bound > r.above]
        return max(max(r.input, r.cached, r.cache_write, r.cache_write_1h) for r in met), max(r.output for r in met)


def load_list() -> None:
    """Load the public list now instead of at the first call that needs it."""
    data_snapshot.get_snapshot()


class PriceList:
    """Sheets by model, compiled once and again every five minutes. Raises UnpricedModel where nobody knows the price."""

    def __init__(self, prices: Mapping[str, PriceOptions]) -> None:
        self._prices = prices
        self._sheets: dict[tuple[str, str], tuple[float, Sheet]] = {}

    def sheet(self, model: ModelOptions, name: str) -> Sheet:
        """The price of the server's model `name`."""
        key = (model.alias, name)
        found = self._sheets.get(key)
        now = time.monotonic()
        if found is None or now - found[0] > _RELOAD_S:
            found = (now, self._compile(model, name))
            if len(self._sheets) > 1000:  # names come from requests
                self._sheets.clear()
            self._sheets[key] = found
        return found[1]

    def _compile(self, model: ModelOptions, name: str) -> Sheet:
        own = self._prices.get(name) or self._prices.get(model.alias)
        if model.free:
            return Sheet(
                rates=(Rates(),), media_tokens=0, context_window=model.context_window, max_output=model.max_output, free=True
            )
        if own is not None:
            return _own_sheet(own, model)
        return _listed_sheet(model, name)


def _own_sheet(own: PriceOptions, model: ModelOptions) -> Sheet:
    rate = _pico(Decimal(str(own.input_usd_per_mtok)))
    cached = rate if own.cached_input_usd_per_mtok is None else _pico(Decimal(str(own.cached_input_usd_per_mtok)))
    output = _pico(Decimal(str(own.output_usd_per_mtok)))
    return Sheet(
        rates=(Rates(input=rate, cached=cached, cache_write=rate, cache_write_1h=rate, output=output),),
        media_tokens=own.media_tokens,
        context_window=model.context_window or own.context_window,
        max_output=model.max_output or own.max_output,
    )


def _listed_sheet(model: ModelOptions, name: str) -> Sheet:
    info = _listed(model, name)
    price = info.get_prices(datetime.now(UTC))
    if price.input_mtok is None:
        raise UnpricedModel(name)
    starts = sorted({0} | {t.start for unit in _TEXT_UNITS for t in getattr(getattr(price, unit), "tiers", ())})
    per_request = price.requests_kcount or Decimal(0)
    return Sheet(
        rates=tuple(_rates(price, start) for start in starts),
        request_nanousd=int((_at(per_request, 0) * 1_000_000).to_integral_value(ROUND_CEILING)),
        context_window=model.context_window or info.context_window,
        max_output=model.max_output or known_max_output(name),
    )


def _listed(model: ModelOptions, name: str) -> ModelInfo:
    """By the server's address; else, for a proxy of one's own, by the vendor whose API it speaks: its model names are its own."""
    snapshot = data_snapshot.get_snapshot()
    for provider_id, url in ((None, model.upstream), (model.kind, None)):
        try:
            return snapshot.find_provider_model(name, None, provider_id, url)[1]
        except LookupError:
            continue
    raise UnpricedModel(name)


def known_max_output(name: str) -> int | None:
    """The largest answer of a well-known model, in tokens."""
    bare = name.rsplit("/", 1)[-1]
    return next((most for prefix, most in _MAX_OUTPUT.items() if bare.startswith(prefix)), None)


def _rates(price: ModelPrice, above: int) -> Rates:
    rate: dict[str, int] = {
        unit: _pico(_at(getattr(price, unit), above)) for unit in _TEXT_UNITS if getattr(price, unit) is not None
    }
    plain = rate["input_mtok"]
    write = rate.get("cache_write_mtok", plain)
    return Rates(
        above=above,
        input=plain,
        cached=rate.get("cache_read_mtok", plain),
        cache_write=write,
        cache_write_1h=rate.get("cache_write_1h_mtok", write),
        output=max(rate.get("output_mtok", 0), rate.get("output_reasoning_mtok", 0)),
    )


def _at(price: Any, tokens: int) -> Decimal:
    """The price for a prompt just over `tokens`."""
    if not isinstance(price, TieredPrices):
        return Decimal(price)
    return next((t.price for t in reversed(price.tiers) if tokens >= t.start), price.base)


def _pico(usd_per_mtok: Decimal) -> int:
    return int((usd_per_mtok * _PICO_PER_MTOK).to_integral_value(ROUND_CEILING))
