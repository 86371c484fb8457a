"""What a human should know before deciding: what it was spent on, what is done, what more would buy, what would happen again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from tether.cli.output import one_line

if TYPE_CHECKING:
    from tether.task import Approval

__all__ = ["grounds"]

_MOST_SHOWN = 10
_UNITS = {"models": "model calls", "web": "web requests", "charges": "charges"}


def grounds(approval: Approval) -> list[str]:
    """Lines for people, of what the approval's details have."""
    details = approval.details
    lines = [*_spent(details), *_so_far(details), *_more(details), *_again(details)]
    if approval.expires_at_ms is None:
        return lines
    expires = datetime.fromtimestamp(approval.expires_at_ms / 1000).strftime("%Y-%m-%d %H:%M")
    return [*lines, f"waits until {expires}, then it ends with what there is"]


def _spent(details: Mapping[str, Any]) -> Iterator[str]:
    on = _mapping(details.get("spent_on"))
    for kind, unit in _UNITS.items():
        for name, figures in _first(_mapping(on.get(kind)).items()):
            known = _mapping(figures)
            yield f"spent on {one_line(name, 80)}: {known.get('calls', 0):g} {unit}, ${known.get('usd', 0):.4f}"
    tools = ", ".join(f"{one_line(name, 40)} ×{count}" for name, count in _first(_mapping(on.get("tools")).items()))
    if tools:
        yield f"tools used: {tools}"


def _so_far(details: Mapping[str, Any]) -> Iterator[str]:
    if details.get("step"):
        yield f"so far: {details['step']} steps"
    if details.get("last_thought"):
        yield f"last thought: {one_line(details['last_thought'], 300)}"
    plan = _list(details.get("plan"))
    if plan:
        yield f"plan: {one_line('; '.join(map(str, plan)), 300)}"


def _more(details: Mapping[str, Any]) -> Iterator[str]:
    text = _mapping(details.get("more")).get("text")
    if text:
        yield f"what more would buy: {one_line(text, 300)}"


def _again(details: Mapping[str, Any]) -> Iterator[str]:
    replay = _mapping(details.get("replay"))
    calls = _list(replay.get("calls"))
    if not replay or not (calls or replay.get("answers")):
        return
    yield f"if it has to start again: {replay.get('answers', 0)} answers of models are given again at no cost,"
    yield f"and what it did itself happens again, of which {len(calls)} tool calls were seen{':' if calls else ''}"
    for each in calls[:_MOST_SHOWN]:
        known = _mapping(each)
        yield f"  {one_line(known.get('name'), 80)} {one_line(known.get('args'), 120)}"
    if len(calls) > _MOST_SHOWN:
        yield f"  … {len(calls) - _MOST_SHOWN} more; see --json"


def _first(pairs: Any) -> list[tuple[str, Any]]:
    return list(pairs)[:_MOST_SHOWN]


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
