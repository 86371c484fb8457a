"""The bound of a call before it is made and its price after: pure arithmetic on tokens and nano-dollars.

A byte-level token is at least one byte, so the bytes of a body are a safe bound of the tokens in it; a prompt is never
longer than the model's window. What the vendor adds around messages and tools is covered by a flat allowance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tether.gateway.asks import Ask
from tether.gateway.prices import Sheet, TokenUsage
from tether.gateway.refusals import BAD_REQUEST, Refusal

__all__ = ["Hold", "Left", "bound_input", "clamp", "hold", "price", "wanted_output"]

_FRAME_TOKENS = 64
_TOOL_FRAME_TOKENS = 700
UNKNOWN_MAX_OUTPUT = 4096


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What is set aside for one call: nano-dollars, tokens; the bound of its prompt, and the output each answer is allowed."""

    nanousd: int
    tokens: int
    input_bound: int
    max_output: int


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a task can still reserve: nano-dollars and tokens."""

    nanousd: int
    tokens: int


def bound_input(ask: Ask, sheet: Sheet, tool_prices: Mapping[str, int]) -> int:
    """The most input tokens the request can be billed for; raises Refusal for what has no bound or no price."""
    if not sheet.free and ask.unpriceable:
        raise _refused("unpriced_option", f"the cost of {', '.join(ask.unpriceable)} is not known; leave it out")
    for name in ask.hosted:
        if name not in tool_prices:
            raise _refused(
                "unpriced_tool",
                f"the provider's own tool {name!r} is not metered; price it: [prices.tools] {name} = dollars per use",
            )
    if ask.media and sheet.media_tokens is None:
        raise _refused(
            "unpriced_media", f'what an image or file costs is not known; add media_tokens to [prices."{ask.model or "MODEL"}"]'
        )
    if ask.hosted or ask.remembers:
        return _by_window(ask, sheet)
    text = ask.size - ask.media_bytes + _FRAME_TOKENS + (_TOOL_FRAME_TOKENS if ask.has_tools else 0)
    bound = max(text, 0) + ask.media * (sheet.media_tokens or 0)
    return bound if ask.long_prompt else min(bound, sheet.context_window or bound)


def _by_window(ask: Ask, sheet: Sheet) -> int:
    """A prompt the provider extends by itself is bounded by the window alone, once per turn it may take."""
    if sheet.free:
        return ask.size
    if sheet.context_window is None:
        raise _refused(
            "unmetered_input", "the prompt is kept or extended by the provider and the model's context_window is not known"
        )
    return sheet.context_window * (1 + sum(ask.hosted.values()))


def _refused(code: str, message: str) -> Refusal:
    return Refusal(BAD_REQUEST, code, message, limit="unpriced_model" if code.startswith("unpriced") else "policy")


def wanted_output(ask: Ask, sheet: Sheet) -> int:
    """The output to allow when nothing is scarce: what is asked, else the model's own most."""
    most = sheet.max_output
    if ask.wanted_output is None:
        return most or UNKNOWN_MAX_OUTPUT
    return ask.wanted_output


def hold(ask: Ask, sheet: Sheet, input_bound: int, max_output: int, tool_nanousd: int = 0) -> Hold:
    """What must be free before the call may be made."""
    output = max_output * ask.n
    return Hold(
        nanousd=sheet.most(input_bound, output) + tool_nanousd,
        tokens=input_bound + output,
        input_bound=input_bound,
        max_output=max_output,
    )


def clamp(ask: Ask, sheet: Sheet, full: Hold, left: Left, floor: int, tool_nanousd: int = 0) -> Hold | None:
    """The call with as much output as is left for it, or None when that is under the floor (or under what was asked, if less)."""
    by_money = sheet.affordable_output(full.input_bound, left.nanousd - tool_nanousd) // ask.n
    by_tokens = (left.tokens - full.input_bound) // ask.n
    output = min(full.max_output, by_money, by_tokens)
    if ask.route == "embeddings" or output < max(min(floor, full.max_output), ask.least_output):
        return None
    return hold(ask, sheet, full.input_bound, output, tool_nanousd)


def price(usage: TokenUsage, sheet: Sheet, tool_prices: Mapping[str, int]) -> int:
    """Nano-dollars of what the provider reported."""
    return sheet.cost(usage) + sum(tool_prices.get(name, 0) * n for name, n in usage.uses.items())
