"""Bars for limits and budgets: what is used of what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from tether.cli.event_lines import money, seconds

if TYPE_CHECKING:
    from rich.table import Table

    from tether.cli.watch import Watch
    from tether.task import TaskDocument

__all__ = ["Bar", "budget_bars", "clock_bars", "grid"]

_WIDTH = 24
_SHOWN_ALWAYS = ("max_llm_calls", "max_usd", "max_web_requests")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One limit: its name, how full it is (0 to 1, more when over), and the figures in words."""

    name: str
    part: float
    figures: str

    def text(self) -> Text:
        """The bar, green, yellow from 80 %, red when full."""
        full = round(min(max(self.part, 0.0), 1.0) * _WIDTH)
        style = "red" if self.part >= 1 else "yellow" if self.part >= 0.8 else "green"
        return Text.assemble(("━" * full, style), ("─" * (_WIDTH - full), "dim"))


def _part(used: float, allowed: float) -> float:
    return used / allowed if allowed else float(used > 0)


def budget_bars(task: TaskDocument, *, everything: bool = False) -> Iterator[Bar]:
    """A bar per budget; the less usual ones only when a fifth is used or everything is wanted."""
    usage, budget = task.usage, task.budget
    counts = (
        ("max_llm_calls", "model calls", usage.llm_calls, budget.max_llm_calls),
        ("max_usd", "dollars", usage.nanousd, budget.max_nanousd),
        ("max_web_requests", "web requests", usage.web_requests, budget.max_web_requests),
        ("max_tokens", "tokens", usage.tokens, budget.max_tokens),
        ("max_tool_calls", "tool calls", usage.tool_calls, budget.max_tool_calls),
        ("max_steps", "steps", usage.steps, budget.max_steps),
    )
    for key, name, used, allowed in counts:
        part = _part(used, allowed)
        if not everything and key not in _SHOWN_ALWAYS and part < 0.2:
            continue
        figures = f"{money(used)} of {money(allowed)}" if key == "max_usd" else f"{used:,} of {allowed:,}"
        yield Bar(name=name, part=part, figures=figures)


def clock_bars(task: TaskDocument, watch: Watch, now_ms: int) -> Iterator[Bar]:
    """A bar per clock that runs now: tool, step, task."""
    for tool in watch.tools.values():
        limit = tool.timeout_s or task.timeouts.tool_s
        yield _clock(f"tool {tool.name}", (now_ms - tool.started_ms) / 1000, limit)
    if watch.step_started_ms is not None:
        yield _clock("step", (now_ms - watch.step_started_ms) / 1000, task.timeouts.step_s)
    yield _clock("task", watch.active_at(now_ms), task.timeouts.task_s)


def _clock(name: str, used_s: float, allowed_s: float) -> Bar:
    return Bar(name=name, part=_part(used_s, allowed_s), figures=f"{seconds(max(used_s, 0))} of {seconds(allowed_s)}")


def grid(bars: Iterator[Bar]) -> Table:
    """The bars below each other."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for bar in bars:
        table.add_row(Text(bar.name, style="dim"), bar.text(), Text(bar.figures))
    return table
