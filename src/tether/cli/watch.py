"""What a person wants to know of a running task, folded from its events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tether.events import Event

__all__ = ["RunningTool", "Watch", "fold"]


@dataclass(frozen=True, kw_only=True)
class RunningTool:
    """A tool call that has not ended; started_ms by the store's clock."""

    name: str
    args: Any
    started_ms: int
    timeout_s: float | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Where a task stands: attempt, step, last thought, tools and model calls in flight, active time of ended attempts."""

    seq: int = 0
    attempt: int | None = None
    attempt_started_ms: int | None = None
    step: int | None = None
    step_started_ms: int | None = None
    thought: str = ""
    plan: tuple[str, ...] = ()
    tools: Mapping[str, RunningTool] = field(default_factory=dict[str, RunningTool])
    calls: Mapping[str, str] = field(default_factory=dict[str, str])
    active_s: float = 0.0

    def active_at(self, now_ms: int) -> float:
        """Active seconds over all attempts at `now_ms`."""
        running = 0 if self.attempt_started_ms is None else max(now_ms - self.attempt_started_ms, 0)
        return self.active_s + running / 1000


def fold(watch: Watch, event: Event) -> Watch:
    """`watch` after `event`."""
    change = _FOLDS.get(event.type)
    watch = replace(watch, seq=event.seq)
    return watch if change is None else change(watch, event)


def _attempt_started(watch: Watch, event: Event) -> Watch:
    return replace(
        watch, attempt=event.attempt, attempt_started_ms=event.at_ms, step=None, step_started_ms=None, tools={}, calls={}
    )


def _attempt_over(watch: Watch, event: Event) -> Watch:
    lasted = event.data.get("active_s")
    if not isinstance(lasted, int | float):
        lasted = 0 if watch.attempt_started_ms is None else (event.at_ms - watch.attempt_started_ms) / 1000
    return replace(watch, active_s=watch.active_s + lasted, attempt_started_ms=None, step_started_ms=None, tools={}, calls={})


def _step_started(watch: Watch, event: Event) -> Watch:
    return replace(watch, step=event.step, step_started_ms=event.at_ms)


def _thought(watch: Watch, event: Event) -> Watch:
    plan = event.data.get("plan") or ()
    return replace(watch, thought=str(event.data.get("thoughts") or ""), plan=tuple(str(p) for p in plan))


def _tool_started(watch: Watch, event: Event) -> Watch:
    data = event.data
    tool = RunningTool(name=str(data.get("name")), args=data.get("args"), started_ms=event.at_ms, timeout_s=data.get("timeout_s"))
    return replace(watch, tools={**watch.tools, str(data.get("call_id")): tool})


def _tool_ended(watch: Watch, event: Event) -> Watch:
    left = {key: tool for key, tool in watch.tools.items() if key != event.data.get("call_id")}
    return replace(watch, tools=left)


def _call_started(watch: Watch, event: Event) -> Watch:
    return replace(watch, calls={**watch.calls, str(event.data.get("call_id")): str(event.data.get("model"))})


def _call_ended(watch: Watch, event: Event) -> Watch:
    return replace(watch, calls={key: model for key, model in watch.calls.items() if key != event.data.get("call_id")})


_FOLDS = {
    "attempt_started": _attempt_started,
    "attempt_ended": _attempt_over,
    "attempt_lost": _attempt_over,
    "step_started": _step_started,
    "thought": _thought,
    "tool_started": _tool_started,
    "tool_ended": _tool_ended,
    "call_started": _call_started,
    "call_ended": _call_ended,
}
