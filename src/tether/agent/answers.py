"""A model's answer read: what it thinks, and which tools it calls, also when it wrote the call as text."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart

from tether.agent.toolbox import REFLECTION

__all__ = ["Answer", "Call", "read", "tidied"]

#: Shorter ids ("call_0") are counted anew in every answer by some servers.
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{9,64}\Z")
_NAME_KEYS = ("name", "tool", "tool_name", "function")
_ARGS_KEYS = ("arguments", "args", "parameters", "input")
_MOST_SAID = 4_000


@dataclass(frozen=True, kw_only=True)
class Call:
    """One tool call; problem says why args could not be read, and is None when they could."""

    id: str
    name: str
    args: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said: thoughts (its own words, bounded), plan, criticism, and calls in its order, `finish` among them."""

    thoughts: str
    plan: tuple[str, ...]
    criticism: str
    calls: tuple[Call, ...]


def tidied(response: ModelResponse, known_tools: Collection[str], used_ids: Collection[str]) -> ModelResponse:
    """The response with calls found in its text made into calls, and call ids that name one call each in the whole task."""
    parts = list(response.parts)
    if not any(isinstance(part, ToolCallPart) for part in parts):
        parts = [made for part in parts for made in _salvaged(part, known_tools)]
    seen = set(used_ids)
    for index, part in enumerate(parts):
        if isinstance(part, ToolCallPart):
            if part.tool_call_id in seen or not _CALL_ID.match(part.tool_call_id):
                part = replace(part, tool_call_id=uuid.uuid4().hex[:9])
            seen.add(part.tool_call_id)
            parts[index] = part
    return replace(response, parts=parts)


def read(response: ModelResponse, own_arguments: Mapping[str, Collection[str]]) -> Answer:
    """The answer in a response; own_arguments: tool → arguments of its own that look like reflection."""
    said: list[str] = []
    plan: tuple[str, ...] = ()
    criticism = ""
    calls: list[Call] = []
    for part in response.parts:
        if isinstance(part, TextPart | ThinkingPart):
            said.append(part.content)
        elif isinstance(part, ToolCallPart):
            call = _call(part, response.finish_reason == "length")
            call, reflection = _without_reflection(call, own_arguments.get(call.name, ()))
            said.append(_text(reflection.get("thought")))
            plan = plan or _lines(reflection.get("plan"))
            criticism = criticism or _text(reflection.get("criticism"))
            calls.append(call)
    thoughts = "\n".join(text.strip() for text in said if text.strip())
    return Answer(thoughts=thoughts[:_MOST_SAID], plan=plan, criticism=criticism[:_MOST_SAID], calls=tuple(calls))


def _call(part: ToolCallPart, cut: bool) -> Call:
    args: Any = part.args
    problem = None
    if isinstance(args, str):
        try:
            args = json.loads(args) if args.strip() else {}
        except ValueError as error:
            problem = f"the arguments are not JSON ({error})"
            if cut:
                problem = "the call was cut off at the output limit; write less at once"
    if problem is None and args is not None and not isinstance(args, dict):
        problem = "the arguments are not an object"
    return Call(id=part.tool_call_id, name=part.tool_name, args=args if isinstance(args, dict) else {}, problem=problem)


def _without_reflection(call: Call, own: Collection[str]) -> tuple[Call, dict[str, Any]]:
    reflection = {key: value for key, value in call.args.items() if key in REFLECTION and key not in own}
    rest = {key: value for key, value in call.args.items() if key not in reflection}
    return replace(call, args=rest), reflection


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list):
        return ()
    return tuple(line for line in (_text(item).strip()[:300] for item in value[:30]) if line)


def _salvaged(part: Any, known_tools: Collection[str]) -> Sequence[Any]:
    """A text part as [text before, call] when it holds a call in JSON: fenced, tagged or bare, as weak models write it."""
    if not isinstance(part, TextPart):
        return [part]
    for start, value in _objects(part.content):
        name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), "")
        args = next((value[key] for key in _ARGS_KEYS if isinstance(value.get(key), dict | str)), {})
        if name in known_tools:
            before = re.sub(r"(```\w*|<tool_call>)\s*\Z", "", part.content[:start]).strip()
            call = ToolCallPart(tool_name=name, args=args, tool_call_id="")
            return [TextPart(content=before), call] if before else [call]
    return [part]


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON objects in a text with their places, outermost first."""
    decoder = json.JSONDecoder(strict=False)
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        except RecursionError:
            return
        else:
            if isinstance(value, dict):
                yield at, value
        at = text.find("{", end)
