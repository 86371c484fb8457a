"""A task as a person reads it: state, attempts, spend against budget, thoughts, partial result, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tether.cli.actions import asked, commands
from tether.cli.bars import budget_bars, grid
from tether.cli.deciding import grounds
from tether.cli.event_lines import seconds
from tether.cli.output import clean, one_line

if TYPE_CHECKING:
    from tether.task import Attempt, TaskDocument

__all__ = ["badge", "lines_of", "outcome", "task_table", "task_view"]

STATE_STYLES = {
    "queued": "cyan",
    "running": "blue",
    "paused": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "red",
}


def badge(task: TaskDocument) -> Text:
    """State and reason, coloured."""
    style = STATE_STYLES.get(task.state, "")
    reason = f" ({task.reason})" if task.reason and task.reason not in (task.state, "completed") else ""
    return Text.assemble(("● ", style), (task.state, f"bold {style}"), reason)


def lines_of(value: Any, most: int = 40) -> str:
    """A JSON value as clean readable text of at most `most` lines."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    lines = clean(text).splitlines()
    more = [f"… {len(lines) - most} more lines; see --json"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])


def task_view(task: TaskDocument, thoughts: Iterable[str] = ()) -> RenderableType:
    """Everything about one task."""
    return Group(*_parts(task, list(thoughts)))


def _parts(task: TaskDocument, thoughts: list[str]) -> Iterator[RenderableType]:
    yield Text.assemble(badge(task), "  ", (task.id, "bold"), f"  {task.agent}", (f"  {_when(task.created_at_ms)}", "dim"))
    yield _section("goal", Text(lines_of(task.goal, 6)))
    if task.message:
        yield _section("message", Text(clean(task.message)))
    if task.attempts:
        yield _section("attempts", _attempts(task.attempts))
    yield _section("spent", grid(budget_bars(task, everything=True)))
    if thoughts:
        yield _section("thoughts", Text("\n".join(f"· {one_line(t, 300)}" for t in thoughts)))
    if task.state != "succeeded" and task.partial is not None:
        yield _section("partial result", Text(lines_of(task.partial)))
    if task.result is not None:
        yield _section("result", Text(lines_of(task.result)))
    if task.artifacts:
        yield _section("files", Text("\n".join(one_line(_artifact(a)) for a in task.artifacts)))
    yield from outcome(task)


def outcome(task: TaskDocument) -> Iterator[RenderableType]:
    """What it asks and what can be done, with the commands."""
    if task.state == "paused":
        yield _section("asks", Text(asked(task), style="yellow"))
    if task.state == "paused" and task.approval is not None:
        yield _section("to decide", Text("\n".join(grounds(task.approval))))
    todo = commands(task)
    if todo:
        table = Table.grid(padding=(0, 2))
        for command, purpose in todo:
            table.add_row(Text(command, style="bold", no_wrap=True), Text(purpose, style="dim"))
        yield _section("you can", table)


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(title, style="dim"), Padding(body, (0, 0, 0, 2), expand=False))


def _when(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def _artifact(artifact: Any) -> str:
    return f"{artifact.get('name')} ({artifact.get('bytes', artifact.get('size_bytes', '?'))} bytes)"


def _attempts(attempts: Iterable[Attempt]) -> Table:
    table = Table.grid(padding=(0, 2))
    for attempt in attempts:
        ended = attempt.ended_at_ms
        took = "" if ended is None else seconds((ended - attempt.started_at_ms) / 1000)
        walls = " ".join(f"{wall} {how}" for wall, how in attempt.isolation.items() if how in ("enforced", "cooperative"))
        style = STATE_STYLES.get(attempt.state, "")
        table.add_row(
            Text(str(attempt.number), style="bold"),
            Text(attempt.state, style=style),
            Text(attempt.reason or ""),
            Text(took),
            Text(one_line(attempt.message or walls, 100), style="dim"),
        )
    return table


def task_table(tasks: Iterable[TaskDocument], *, wide: bool) -> Table:
    """A list of tasks; an id is for copying, so everything else gives way, and some columns only stand where it is wide."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("id", no_wrap=True, min_width=31)
    table.add_column("state", no_wrap=True, overflow="ellipsis", min_width=11)
    for name in ("agent", "created", "calls") if wide else ():
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if name == "calls" else "left")
    table.add_column("usd", no_wrap=True, justify="right", min_width=5)
    table.add_column("goal", no_wrap=True, overflow="ellipsis", ratio=1)
    for task in tasks:
        made = datetime.fromtimestamp(task.created_at_ms / 1000).strftime("%m-%d %H:%M")
        more = (Text(task.agent), Text(made, style="dim"), Text(str(task.usage.llm_calls))) if wide else ()
        spent = Text(f"{task.usage.document()['usd']:.2f}")
        table.add_row(Text(task.id), badge(task), *more, spent, Text(one_line(task.goal, 80)))
    return table
