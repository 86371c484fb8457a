"""From a request to what will be sent and set aside for it: the model, its price, the bounds, the outgoing body. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from tether.errors import UnpricedModel
from tether.gateway import meter, schema_tools
from tether.gateway.asks import Ask, is_unambiguous
from tether.gateway.options import ModelOptions
from tether.gateway.prices import PriceList, Sheet
from tether.gateway.refusals import BAD_REQUEST, NOT_FOUND, Refusal, unpriced
from tether.gateway.upstream import is_openai, speaks

__all__ = ["Plan", "make_plan", "outgoing"]

_SEARCHES = re.compile(r"-search-(?:preview|api)|deep-research")  # models that search by themselves, for a fee of its own


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One call, decided: `name` is the server's name of the model, `full` what is held when nothing is scarce."""

    ask: Ask
    model: ModelOptions
    name: str
    sheet: Sheet
    tool_nanousd: int
    full: meter.Hold
    schema: bool


def make_plan(
    ask: Ask, models: Mapping[str, ModelOptions], default: str, prices: PriceList, tool_prices: Mapping[str, int]
) -> Plan:
    """Decide the call; raises Refusal when there is no such model, no such route at its server, or no bound or price."""
    model, name = _choose(ask, models, default)
    if not speaks(model, ask.route):
        raise Refusal(BAD_REQUEST, "unknown_route", f"the server of model {model.alias!r} has no {ask.route} API", limit="route")
    if _SEARCHES.search(name):
        ask = replace(ask, hosted={"web_search": 1, **ask.hosted})
    try:
        sheet = prices.sheet(model, name)
    except UnpricedModel as error:
        raise unpriced(error) from None
    schema = model.tools == "schema" and ask.has_tools
    if schema and ask.route != "chat":
        raise Refusal(
            BAD_REQUEST, "unknown_route", f'model {model.alias!r} has tools = "schema": use /v1/chat/completions', limit="route"
        )
    bound = meter.bound_input(ask, sheet, tool_prices)
    tool_nanousd = sum(tool_prices[name] * uses for name, uses in ask.hosted.items())
    full = meter.hold(ask, sheet, bound, meter.wanted_output(ask, sheet), tool_nanousd)
    return Plan(ask=ask, model=model, name=name, sheet=sheet, tool_nanousd=tool_nanousd, full=full, schema=schema)


def _choose(ask: Ask, models: Mapping[str, ModelOptions], default: str) -> tuple[ModelOptions, str]:
    """By alias, by the server's own name, then through a model entry that passes names on."""
    wanted = ask.model or default
    for candidate in (models.get(wanted), *(m for m in models.values() if m.model == wanted)):
        if candidate is not None and (candidate.model or ask.model):
            return candidate, candidate.model or wanted
    passing = [m for m in (models.get(default), *models.values()) if m is not None and not m.model and speaks(m, ask.route)]
    if passing and ask.model:
        return passing[0], wanted
    known = ", ".join(sorted(models)) or "none"
    raise Refusal(NOT_FOUND, "model_not_found", f"model {wanted!r} is not configured; configured: {known}", limit="policy")


def outgoing(plan: Plan, hold: meter.Hold, raw: bytes) -> bytes:
    """The body to send: the very bytes that came, unless the model's name, the largest answer or the usage report must change."""
    ask = plan.ask
    changes: dict[str, Any] = {}
    if ask.model != plan.name:
        changes["model"] = plan.name
    if ask.output_field and hold.max_output != ask.wanted_output and not (plan.sheet.free and hold == plan.full):
        changes[_output_field(plan)] = hold.max_output
    if ask.streamed and not ask.wants_usage:
        changes["stream_options"] = {**(ask.body.get("stream_options") or {}), "include_usage": True}
    if ask.hosted:
        changes |= _bounded_uses(ask)
    if plan.schema:
        return to_json(schema_tools.rewrite({**ask.body, **changes}))
    return to_json({**ask.body, **changes}) if changes or not is_unambiguous(raw) else raw


def _output_field(plan: Plan) -> str:
    field = plan.ask.output_field or ""
    if field == "max_completion_tokens" and plan.ask.wanted_output is None and not is_openai(plan.model):
        return "max_tokens"  # other servers know the older name
    return field


def _bounded_uses(ask: Ask) -> dict[str, Any]:
    """The provider must enforce the uses that were set aside for."""
    if ask.route == "responses":
        return {"max_tool_calls": sum(ask.hosted.values())}
    if ask.route != "messages":
        return {}
    tools = [{**t, "max_uses": t.get("max_uses") or _uses(ask, t)} if _uses(ask, t) else t for t in ask.body.get("tools", [])]
    return {"tools": tools}


def _uses(ask: Ask, tool: Mapping[str, Any]) -> int:
    kind = str(tool.get("type", ""))
    return next((uses for name, uses in ask.hosted.items() if kind.startswith(name)), 0)
