"""Commands that decide: approve, reject, answer, pause, resume, cancel, retry, escalate, update."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.cli.invocation import Invocation, invocation, who
from tether.cli.task_options import pairs
from tether.errors import ValidationError

if TYPE_CHECKING:
    from tether.task import TaskDocument

__all__ = ["register"]

TaskId = Annotated[str, typer.Argument(metavar="ID", help="Task id.", show_default=False)]
Comment = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Why; goes into the journal.", show_default=False)]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    for command in (approve, reject, answer, pause, resume, cancel, retry, escalate, update):
        app.command(command.__name__, epilog=epilog)(command)


def approve(
    ctx: typer.Context,
    task_id: TaskId,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="LIMIT=N", help="Add to a budget, for example max_usd=5.", show_default=False),
    ] = None,
    comment: Comment = "",
) -> None:
    """Approve what a paused task waits for.

    It goes on from its checkpoint.
    """
    given = {name: _number("--add", name, text) for name, text in pairs("--add", add or []).items()}
    inv = invocation(ctx)
    _done(inv, inv.client.approve(task_id, add=given, comment=comment, by=who()))


def reject(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """Reject what a paused task waits for.

    It ends as failed, with what it has so far.
    """
    inv = invocation(ctx)
    _done(inv, inv.client.reject(task_id, comment=comment, by=who()))


def answer(
    ctx: typer.Context, task_id: TaskId, text: Annotated[str, typer.Argument(help="The answer.", show_default=False)]
) -> None:
    """Answer the question a paused task asks."""
    inv = invocation(ctx)
    _done(inv, inv.client.answer(task_id, text, by=who()))


def pause(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """Stop a task at its next checkpoint.

    `tether resume` lets it go on.
    """
    _change(ctx, "pause", task_id, comment)


def resume(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """Let a task go on that was paused by hand."""
    _change(ctx, "resume", task_id, comment)


def cancel(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """End a task; its partial result is kept."""
    _change(ctx, "cancel", task_id, comment)


def retry(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """Try a failed or cancelled task again.

    From its last checkpoint; what it spent stays counted.
    """
    _change(ctx, "retry", task_id, comment)


def escalate(ctx: typer.Context, task_id: TaskId, comment: Comment = "") -> None:
    """Hand a task to a human.

    It pauses until somebody decides.
    """
    _change(ctx, "escalate", task_id, comment)


def _change(ctx: typer.Context, verb: str, task_id: str, note: str) -> None:
    inv = invocation(ctx)
    act: Callable[..., TaskDocument] = getattr(inv.client, verb)
    _done(inv, act(task_id, note=note, by=who()))


def update(
    ctx: typer.Context,
    task_id: TaskId,
    max_usd: Annotated[str | None, typer.Option("--max-usd", metavar="N", help="New total.", show_default=False)] = None,
    max_llm_calls: Annotated[
        int | None, typer.Option("--max-llm-calls", metavar="N", help="New total.", show_default=False)
    ] = None,
    max_web_requests: Annotated[
        int | None, typer.Option("--max-web-requests", metavar="N", help="New total.", show_default=False)
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", metavar="N", help="New total.", show_default=False)] = None,
    max_tool_calls: Annotated[
        int | None, typer.Option("--max-tool-calls", metavar="N", help="New total.", show_default=False)
    ] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", metavar="N", help="New total.", show_default=False)] = None,
    tool_s: Annotated[float | None, typer.Option("--tool-s", metavar="S", help="New limit, seconds.", show_default=False)] = None,
    step_s: Annotated[float | None, typer.Option("--step-s", metavar="S", help="New limit, seconds.", show_default=False)] = None,
    task_s: Annotated[float | None, typer.Option("--task-s", metavar="S", help="New limit, seconds.", show_default=False)] = None,
    idle_s: Annotated[float | None, typer.Option("--idle-s", metavar="S", help="New limit, seconds.", show_default=False)] = None,
    priority: Annotated[int | None, typer.Option("--priority", metavar="N", help="Higher first.", show_default=False)] = None,
    comment: Comment = "",
) -> None:
    """Change the limits or the priority of a task.

    What is not given stays. A final task cannot be changed.
    """
    budget = _given(
        max_usd=max_usd,
        max_llm_calls=max_llm_calls,
        max_web_requests=max_web_requests,
        max_tokens=max_tokens,
        max_tool_calls=max_tool_calls,
        max_steps=max_steps,
    )
    timeouts = _given(tool_s=tool_s, step_s=step_s, task_s=task_s, idle_s=idle_s)
    inv = invocation(ctx)
    _done(inv, inv.client.update(task_id, budget=budget, timeouts=timeouts, priority=priority, note=comment, by=who()))


def _given(**values: Any) -> dict[str, Any] | None:
    return {name: value for name, value in values.items() if value is not None} or None


def _number(option: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValidationError(f"{option} {name}", f"{text!r} is not a number", f"write {option} {name}=5") from None


def _done(inv: Invocation, task: TaskDocument) -> None:
    from tether.cli.output import out, print_json, say

    if inv.as_json:
        print_json(task.document())
        return
    from tether.cli.task_view import badge

    out().print(badge(task), task.id)
    if task.state == "queued" and not any(task.agent in row.agents for row in inv.client.workers()):
        say(f"no worker serves the agent {task.agent!r} now; start one with `tether worker`", "yellow")
