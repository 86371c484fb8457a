"""What model requests tell of an agent that says nothing itself: steps, tool calls and how they ended. Pure.

A request whose history is not that of an earlier one is a step; tool results at the end of a history are the calls that the
model's last answer asked for. Everything read here is a conclusion and is labelled `inferred` wherever it goes.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

__all__ = ["Seen", "SeenTool", "Traffic"]

_MOST_REQUESTS = 1024
_MOST_CALLS = 4096
_SHOWN_CHARS = 4_000
_THOUGHT_CHARS = 2_000
_FAILED_STARTS = ("error", "traceback (most recent call last)", "exception:", "an error occurred", "tool error", "failed:")
_FAILED_ENDS = ("please fix your mistakes.", "fix the errors and try again.")  # what frameworks write for a failed call

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SeenTool:
    """A tool call that ended. args, result: bounded; digest: of the whole result; error: text when it looks like a failure."""

    call_id: str
    name: str
    args: Any
    result: str
    digest: str
    error: str | None

    def document(self) -> dict[str, Any]:
        """As packets carry it."""
        names = ("call_id", "name", "args", "result", "digest", "error")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One new request. talk: which conversation it belongs to; grew: it goes on with one that was known, or brings results.

    thought: what the model said last.
    """

    talk: str
    grew: bool
    tools: tuple[SeenTool, ...] = ()
    thought: str = ""


@dataclass(kw_only=True, eq=False)
class Traffic:
    """What was seen of one attempt so far, bounded."""

    requests: OrderedDict[int, None] = field(default_factory=OrderedDict[int, None])
    talks: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    calls: OrderedDict[tuple[str, int, str], None] = field(default_factory=OrderedDict[tuple[str, int, str], None])

    def see(self, route: str, body: Document, raw: bytes) -> Seen | None:
        """What a request to `route` (chat, messages, responses) tells, or None: it is a repetition, or no conversation."""
        items = _items(route, body)
        if not items or not _new(self.requests, hash(raw), _MOST_REQUESTS):
            return None
        talk = _talk(body, items)
        fresh = _new(self.talks, talk, _MOST_REQUESTS)
        results, asked, thought = _ending(items)
        tools = self._tools(talk, items, results, asked)
        return Seen(talk=talk, grew=not fresh or bool(results), tools=tools, thought=thought[:_THOUGHT_CHARS])

    def ended(self, route: str, body: Document) -> tuple[str, tuple[SeenTool, ...]]:
        """The conversation, and the tool calls that a request tells of which has to wait; it is a step only once it goes on."""
        items = _items(route, body)
        if not items:
            return "", ()
        talk = _talk(body, items)
        results, asked, _thought = _ending(items)
        return talk, self._tools(talk, items, results, asked)

    def _tools(
        self, talk: str, items: Sequence[Document], results: Sequence[Result], asked: Mapping[str, Asked]
    ) -> tuple[SeenTool, ...]:
        return tuple(
            _tool(call_id, asked.get(call_id), result, failed)
            for call_id, result, failed in results
            if _new(self.calls, (talk, len(items), call_id), _MOST_CALLS)
        )


def _new(known: OrderedDict[Any, None], key: Any, most: int) -> bool:
    """Whether `key` was not known; it is from now on."""
    if key in known:
        known.move_to_end(key)
        return False
    known[key] = None
    if len(known) > most:
        known.popitem(last=False)
    return True


def _items(route: str, body: Document) -> list[Document]:
    found = body.get("input") if route == "responses" else body.get("messages") if route in ("chat", "messages") else None
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    return _maps(found)


def _talk(body: Document, items: Sequence[Document]) -> str:
    """A name for the conversation: its instructions and how it began."""
    first = next((item for item in items if item.get("role") not in ("system", "developer")), items[0])
    start = [body.get("system") or body.get("instructions"), items[0].get("content"), first.get("content")]
    return _digest(json.dumps(start, sort_keys=True, default=str))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


Result = tuple[str, str, bool | None]
Asked = tuple[str, Any]


def _ending(items: Sequence[Document]) -> tuple[list[Result], dict[str, Asked], str]:
    """The tool results after the model's last answer, the calls it asked for by id, and what it said."""
    results: list[Result] = []
    asked: dict[str, Asked] = {}
    thought = ""
    for item in reversed(items):
        found = list(_results(item))
        # In OpenAI's Responses a turn is several items: calls and reasoning, then their outputs.
        if asked and (found or item.get("role") == "user"):
            break
        results += found
        asked |= dict(_calls(item))
        if item.get("role") == "assistant":
            thought = _text(item.get("content"))
            break
    results.reverse()
    return results, asked, thought


def _results(item: Document) -> Iterator[Result]:
    kind = str(item.get("type") or "")
    if item.get("role") in ("tool", "function"):
        yield str(item.get("tool_call_id") or item.get("name") or ""), _text(item.get("content")), None
    elif kind.endswith("_call_output"):
        yield str(item.get("call_id") or ""), _text(item.get("output")), None
    elif item.get("role") == "user":
        for block in reversed(_maps(item.get("content"))):
            if block.get("type") == "tool_result":
                failed = block.get("is_error")
                yield (
                    str(block.get("tool_use_id") or ""),
                    _text(block.get("content")),
                    bool(failed) if failed is not None else None,
                )


def _calls(item: Document) -> Iterator[tuple[str, Asked]]:
    kind = item.get("type")
    if kind in ("function_call", "custom_tool_call"):
        yield str(item.get("call_id") or ""), (str(item.get("name")), _arguments(item.get("arguments", item.get("input"))))
    if item.get("role") != "assistant":
        return
    for call in _maps(item.get("tool_calls")):
        for given in _maps([call.get("function") or call.get("custom")]):
            yield str(call.get("id") or ""), (str(given.get("name")), _arguments(given.get("arguments", given.get("input"))))
    for old in _maps([item.get("function_call")]):
        yield str(old.get("name")), (str(old.get("name")), _arguments(old.get("arguments")))
    for block in _maps(item.get("content")):
        if block.get("type") == "tool_use":
            yield str(block.get("id") or ""), (str(block.get("name")), block.get("input"))


def _maps(value: Any) -> list[Document]:
    """The objects in a list; nothing, when it is none."""
    return [cast("Document", m) for m in cast("list[Any]", value) if isinstance(m, dict)] if isinstance(value, list) else []


def _arguments(given: Any) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in _maps(content)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else json.dumps(content, sort_keys=True, default=str)


def _tool(call_id: str, asked: Asked | None, result: str, failed: bool | None) -> SeenTool:
    name, args = asked or ("unknown", None)
    wrong = _looks_failed(result) if failed is None else failed
    return SeenTool(
        call_id=call_id[:200],
        name=name[:200],
        args=_bounded(args),
        result=result[:_SHOWN_CHARS],
        digest=_digest(result),
        error=result[:_SHOWN_CHARS] if wrong else None,
    )


def _bounded(args: Any) -> Any:
    text = args if isinstance(args, str) else json.dumps(args, sort_keys=True, default=str)
    return args if len(text) <= _SHOWN_CHARS else {"digest": _digest(text), "text": text[:_SHOWN_CHARS]}


def _looks_failed(result: str) -> bool:
    """OpenAI's APIs have no mark for a failed call: the ways frameworks write one."""
    text = result[:_SHOWN_CHARS].strip().lower()
    if text.startswith("{"):
        found = _arguments(result)
        return isinstance(found, dict) and bool(found.get("error") or found.get("is_error") or found.get("isError"))
    return text.startswith(_FAILED_STARTS) or text.endswith(_FAILED_ENDS)
