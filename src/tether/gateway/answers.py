"""Reading answers: the usage a provider reports, in whole documents and in streams of events. Pure; bytes pass unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from tether.gateway.prices import TokenUsage

__all__ = ["EventMeter", "finish_of", "usage_of"]

_TELLING = re.compile(rb'"usage"\s*:\s*\{|"(?:finish_reason|stop_reason)"\s*:\s*"|\[DONE\]|^event:\s*error', re.MULTILINE)
_BOUNDARY = re.compile(rb"\r?\n\r?\n")
_MOST_PENDING = 32 * 1024 * 1024
_FINAL_RESPONSES = ("response.completed", "response.incomplete", "response.failed")


def usage_of(document: Mapping[str, Any]) -> TokenUsage | None:
    """The usage in an answer of any of the vendors' shapes, or None when there is none worth trusting."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    given = cast("dict[str, Any]", usage)
    return _openai(given) if "prompt_tokens" in given else _typed_usage(given, document)


def finish_of(document: Mapping[str, Any]) -> str | None:
    """Why the model stopped, in the vendor's word."""
    choices = document.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return cast("dict[str, Any]", choices[0]).get("finish_reason")
    return document.get("stop_reason") or ("tool_calls" if _asks_for_tools(document) else document.get("status"))


def _asks_for_tools(document: Mapping[str, Any]) -> bool:
    """Whether an answer of the Responses API, which only says that it is complete, wants its caller to run something."""
    output = document.get("output")
    items = cast("list[Any]", output) if isinstance(output, list) else []
    return any(isinstance(item, dict) and item.get("type") in ("function_call", "custom_tool_call") for item in items)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _openai(usage: Mapping[str, Any]) -> TokenUsage | None:
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cached = _count(_details(usage, "prompt_tokens_details").get("cached_tokens"))
    total = _count(usage.get("total_tokens"))  # some servers count reasoning only here
    return TokenUsage(input=prompt, output=max(completion, total - prompt), cached=cached) if prompt or completion else None


def _typed_usage(usage: Mapping[str, Any], document: Mapping[str, Any]) -> TokenUsage | None:
    prompt, output = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    read, write = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    if not (prompt or output or read or write):
        return None
    long_write = min(write, _count(_details(usage, "cache_creation").get("ephemeral_1h_input_tokens")))
    return TokenUsage(
        input=prompt + read + write,  # Anthropic counts them apart, OpenAI has neither
        output=output,
        cached=read or _count(_details(usage, "input_tokens_details").get("cached_tokens")),
        cache_write=write - long_write,
        cache_write_1h=long_write,
        uses=_uses(usage, document),
    )


def _uses(usage: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, int]:
    """Uses of the provider's own tools: Anthropic counts them, OpenAI lists them."""
    counted = _details(usage, "server_tool_use")
    uses = {name.removesuffix("_requests"): _count(n) for name, n in counted.items()}
    output = document.get("output")
    for item in cast("list[Any]", output) if isinstance(output, list) else []:
        kind = item.get("type", "") if isinstance(item, dict) else ""
        if kind.endswith("_call") and kind not in ("function_call", "custom_tool_call", "local_shell_call", "apply_patch_call"):
            name = kind.removesuffix("_call")
            uses[name] = uses.get(name, 0) + 1
    return uses


def _tells(events: bytes) -> bool:
    """Whether there is more in these events than text; quick, as most of them are nothing else."""
    hinted = b'_reason"' in events or b'"usage"' in events or b"[DONE]" in events or b"error" in events
    return hinted and _TELLING.search(events) is not None


class EventMeter:
    """Passes server-sent events through and reads their usage; whole events only, so one can be left out.

    strip: leave out the usage chunk that the caller did not ask for.
    After the stream: usage (None when none came), finish, model, done (it said its last word), failed (it spoke of an error).
    """

    def __init__(self, *, strip: bool) -> None:
        self._strip = strip
        self._pending = b""
        self._usage: dict[str, Any] = {}
        self._document: Mapping[str, Any] = {}
        self.finish: str | None = None
        self.model: str | None = None
        self.done = False
        self.failed = False

    @property
    def usage(self) -> TokenUsage | None:
        """What was used, once the stream said its last word."""
        return usage_of({**self._document, "usage": self._usage}) if self.done and self._usage else None

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on now: every event that is complete."""
        whole = self._pending + data if self._pending else data
        end = len(whole) if whole.endswith(b"\n\n") else max(whole.rfind(b"\n\n") + 2, whole.rfind(b"\r\n\r\n") + 4)
        if end < 4:
            self._pending = whole
            return b"" if len(whole) < _MOST_PENDING else self.rest()
        ready, self._pending = whole[:end], whole[end:]
        return self._read(ready) if _tells(ready) else ready

    def rest(self) -> bytes:
        """What is left when the stream has ended without closing its last event."""
        rest, self._pending = self._pending, b""
        return self._read(rest) if _tells(rest) else rest

    def _read(self, ready: bytes) -> bytes:
        kept: list[bytes] = []
        start = 0
        while start < len(ready):
            boundary = _BOUNDARY.search(ready, start)
            end = boundary.end() if boundary else len(ready)
            event = ready[start:end]
            if not (_tells(event) and self._event(event)):
                kept.append(event)
            start = end
        return b"".join(kept)

    def _event(self, event: bytes) -> bool:
        """Read one event; True when it is not for the caller."""
        data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        if data == b"[DONE]":
            self.done = True
            return False
        try:
            document = json.loads(data)
        except ValueError:
            return False
        return isinstance(document, dict) and self._document_of(cast("dict[str, Any]", document))

    def _document_of(self, event: dict[str, Any]) -> bool:
        kind = event.get("type")
        inner = event.get("message") if kind == "message_start" else event.get("response", event)
        document = cast("dict[str, Any]", inner) if isinstance(inner, dict) else event
        usage = document.get("usage")
        if isinstance(usage, dict):
            self._usage.update({k: v for k, v in cast("dict[str, Any]", usage).items() if v is not None})
        self.model = document.get("model") or self.model
        delta = event.get("delta")
        self.finish = finish_of(cast("dict[str, Any]", delta) if isinstance(delta, dict) else document) or self.finish
        self.failed = self.failed or kind == "error"
        if kind == "message_delta" or kind in _FINAL_RESPONSES:
            self.done = True
            self._document = document
        last = kind is None and event.get("choices") == [] and isinstance(usage, dict)
        self.done = self.done or last
        return last and self._strip
