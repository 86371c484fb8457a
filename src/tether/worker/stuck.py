"""Whether an agent goes round in circles, decided from its tool calls alone. Pure.

A call counts as the same only while its result is the same too: polling something that changes is work, not a circle.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tether.config import StuckSettings

__all__ = ["Circle", "EndedCall", "Suspicions"]

_SHOWN_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class EndedCall:
    """One tool call that ended. call, result: digests of what was asked and came back; error: its text, if it failed."""

    name: str
    call: str
    result: str
    error: str | None
    shown: str

    @classmethod
    def of(cls, name: str, args: Any, result: Any, error: str | None, digest: str | None = None) -> EndedCall:
        """From what the journal has of it; `digest` stands for a result that is known by its digest alone."""
        given = _plain(args)
        came_back = digest or _digest(_plain(result if error is None else error))
        shown = f"{name} {given}"[:_SHOWN_CHARS] + (f" → {error}"[:_SHOWN_CHARS] if error else "")
        return cls(name=name, call=_digest(f"{name} {given}"), result=came_back, error=error, shown=shown)


@dataclass(frozen=True, kw_only=True)
class Circle:
    """A pattern that looks like no progress: same_call | same_error | ping_pong, how often, and its calls for people."""

    pattern: str
    count: int
    calls: tuple[str, ...]

    def __str__(self) -> str:
        what = {
            "same_call": "the same tool call with the same result",
            "same_error": "the same error of the same tool",
            "ping_pong": "the same two tool calls in turn, with the same results",
        }[self.pattern]
        return f"{what}, {self.count} times: {'; '.join(self.calls)}"


class Suspicions:
    """Looks at tool calls as they end; a circle that was found is forgotten, so the next one is a new one."""

    def __init__(self, settings: StuckSettings) -> None:
        self._settings = settings
        most = max(settings.same_call, settings.same_error, settings.ping_pong)
        self._recent: deque[EndedCall] = deque(maxlen=most)

    def remember(self, calls: Sequence[EndedCall]) -> None:
        """Calls that ended before all that it has seen."""
        self._recent = deque([*calls, *self._recent], maxlen=self._recent.maxlen)

    def ended(self, call: EndedCall) -> Circle | None:
        """The circle that this call closes, or None."""
        self._recent.append(call)
        found = circle_in(tuple(self._recent), self._settings)
        if found is not None:
            self._recent.clear()
        return found


def circle_in(calls: Sequence[EndedCall], settings: StuckSettings) -> Circle | None:
    """The pattern that the newest of `calls` complete."""
    last = _last(calls, settings.same_call)
    if last and len({(each.call, each.result) for each in last}) == 1:
        return Circle(pattern="same_call", count=len(last), calls=(last[0].shown,))
    last = _last(calls, settings.same_error)
    if last and last[0].error is not None and len({(each.name, each.error) for each in last}) == 1:
        return Circle(pattern="same_error", count=len(last), calls=tuple(dict.fromkeys(each.shown for each in last)))
    last = _last(calls, settings.ping_pong)
    if last and _alternates(last):
        return Circle(pattern="ping_pong", count=len(last), calls=(last[0].shown, last[1].shown))
    return None


def _last(calls: Sequence[EndedCall], count: int) -> Sequence[EndedCall]:
    return calls[-count:] if len(calls) >= count else ()


def _alternates(calls: Sequence[EndedCall]) -> bool:
    turns = [{(each.call, each.result) for each in calls[start::2]} for start in (0, 1)]
    return all(len(turn) == 1 for turn in turns) and turns[0] != turns[1]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
