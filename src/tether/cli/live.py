"""What is shown while a task runs: a panel that moves on a terminal, plain lines anywhere else. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from tether.cli.bars import budget_bars, clock_bars, grid
from tether.cli.event_lines import NOISE, line, seconds
from tether.cli.output import errors, one_line
from tether.cli.task_view import badge
from tether.cli.watch import Watch, fold

if TYPE_CHECKING:
    from tether.events import Event
    from tether.task import TaskDocument

__all__ = ["LivePanel", "PlainLines", "View", "view"]


class View(Protocol):
    """Shows events as they come and the task as it stands."""

    def __enter__(self) -> View: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self, events: Iterable[Event], task: TaskDocument) -> None:
        """New events, and the task after them."""
        ...


def view() -> View:
    """The panel on a terminal, lines otherwise."""
    return LivePanel() if errors().is_terminal else PlainLines()


class PlainLines:
    """One line per event that matters; for logs and pipes."""

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, events: Iterable[Event], task: TaskDocument) -> None:  # noqa: ARG002 - the lines say it all
        """Print the lines."""
        for event in events:
            if event.type not in NOISE:
                errors().print(line(event), soft_wrap=True)


class LivePanel:
    """Lines that scroll, and below them state, step, thought, running tool and a bar for each limit and budget."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._task: TaskDocument | None = None
        self._live = Live(console=errors(), get_renderable=self._panel, refresh_per_second=8, transient=True)

    def __enter__(self) -> LivePanel:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, events: Iterable[Event], task: TaskDocument) -> None:
        """Print the lines above the panel, and move the panel on."""
        for event in events:
            self._watch = fold(self._watch, event)
            if event.type not in NOISE:
                self._live.console.print(line(event))
        self._task = task

    def _panel(self) -> RenderableType:
        return Text("") if self._task is None else panel(self._task, self._watch, int(time.time() * 1000))


def panel(task: TaskDocument, watch: Watch, now_ms: int) -> RenderableType:
    """The panel at `now_ms`, Unix time in milliseconds."""
    head = Text.assemble(
        badge(task),
        f"  {task.id}",
        (f"  attempt {watch.attempt}" if watch.attempt else "", "dim"),
        (f"  step {watch.step}" if watch.step is not None else "", "dim"),
        (f"  {seconds(max(now_ms - task.created_at_ms, 0) / 1000)}", "dim"),
    )
    rows: list[RenderableType] = [Text("─" * 60, style="dim"), head]
    if watch.thought:
        rows.append(Padding(Text(one_line(watch.thought, 200), style="italic"), (0, 0, 0, 2)))
    doing = _doing(task, watch)
    if doing:
        rows.append(Padding(Text(doing, style="cyan"), (0, 0, 0, 2)))
    rows.append(Padding(grid(chain(clock_bars(task, watch, now_ms), budget_bars(task))), (0, 0, 0, 2)))
    rows.append(Text("  Ctrl-C leaves it running; twice cancels it", style="dim"))
    return Group(*rows)


def _doing(task: TaskDocument, watch: Watch) -> str:
    if watch.attempt_started_ms is None:
        return "waits for a free worker" if task.state == "queued" else "the worker makes the agent ready …"
    if watch.tools:
        return "\n".join(f"runs {tool.name} {one_line(tool.args, 120)}" for tool in watch.tools.values())
    return f"asks {', '.join(sorted(set(watch.calls.values())))} …" if watch.calls else ""
