"""Commands that only read: list, show, events, wait, result, state, approvals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.cli import exits
from tether.cli.invocation import Invocation, invocation, who
from tether.errors import Conflict, ValidationError

if TYPE_CHECKING:
    from tether.events import Event
    from tether.task import TaskDocument

__all__ = ["register"]

TaskId = Annotated[str, typer.Argument(metavar="ID", help="Task id.", show_default=False)]
_STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    commands = {
        "list": list_,
        "show": show,
        "events": events,
        "wait": wait,
        "result": result,
        "state": state,
        "approvals": approvals,
    }
    for name, command in commands.items():
        app.command(name, epilog=epilog)(command)


def list_(
    ctx: typer.Context,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only these (repeatable).", show_default=False)] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only this agent's.", show_default=False)] = None,
    task_type: Annotated[str | None, typer.Option("--task-type", help="Only this kind.", show_default=False)] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only with this tag.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only for this user.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Made at or after.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the page before ended.", show_default=False)] = None,
) -> None:
    """List tasks, newest first."""
    inv = invocation(ctx)
    for name in state or ():
        if name not in _STATES:
            raise ValidationError("--state", f"{name!r} is unknown", f"use one of {', '.join(_STATES)}")
    page = inv.client.tasks(
        state=state or (),
        agent=agent,
        task_type=task_type,
        tag=tag,
        user=user,
        created_from=None if since is None else _time("--since", since),
        limit=limit,
        cursor=cursor,
    )
    _print_list(inv, page.data, page.next_cursor)


def _print_list(inv: Invocation, tasks: tuple[TaskDocument, ...], next_cursor: str | None) -> None:
    from tether.cli.output import out, print_json, say

    if inv.as_json:
        print_json({"data": [task.document() for task in tasks], "next_cursor": next_cursor})
        return
    from tether.cli.task_view import task_table

    if not tasks:
        say("no tasks", "dim")
        return
    out().print(task_table(tasks, wide=out().width >= 100))
    if next_cursor:
        say(f"more: --cursor {next_cursor}", "dim")


def _time(option: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValidationError(option, f"{text!r} is not a time", "write 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return found if found.tzinfo else found.astimezone()


def show(ctx: typer.Context, task_id: TaskId) -> None:
    """Show a task, and what you can do about it.

    Attempts, spend against budget, last thoughts, partial result, and the exact commands.
    """
    from tether.cli.output import out, print_json

    inv = invocation(ctx)
    task = inv.client.get(task_id)
    if inv.as_json:
        print_json(task.document())
        return
    from tether.cli.task_view import task_view

    out().print(task_view(task, _last_thoughts(inv, task_id)))


def _last_thoughts(inv: Invocation, task_id: str, most: int = 3) -> list[str]:
    found = [e.data.get("thoughts") for e in inv.client.events(task_id) if e.type == "thought"]
    return [str(thought) for thought in found[-most:] if thought]


def events(
    ctx: typer.Context,
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task is final.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, metavar="SEQ", help="Only events behind this number.")] = 0,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Only this kind (repeatable).", show_default=False)] = None,
) -> None:
    """Print a task's journal."""
    from tether.events import KINDS

    inv = invocation(ctx)
    for name in kind or ():
        if name not in KINDS:
            raise ValidationError("--type", f"{name!r} is not a kind of event", f"known are {', '.join(sorted(KINDS))}")
    found = (e for e in inv.client.events(task_id, after=after, follow=follow) if not kind or e.type in kind)
    if not inv.as_json:
        _print_events(found)
    elif follow:
        for event in found:
            _print_line(event)
    else:
        from tether.cli.output import print_json

        print_json({"data": [event.document() for event in found], "next_cursor": None})


def _print_events(found: Any) -> None:
    from tether.cli.event_lines import line
    from tether.cli.output import out

    for event in found:
        out().print(line(event, wide=True), soft_wrap=not out().is_terminal)


def _print_line(event: Event) -> None:
    import json
    import sys

    sys.stdout.write(json.dumps(event.document()) + "\n")
    sys.stdout.flush()


def wait(
    ctx: typer.Context,
    task_id: TaskId,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="S", help="Give up after so many seconds (exit 6).", show_default=False),
    ] = None,
    until: Annotated[str, typer.Option("--until", help="settled: final or paused; final: only final.")] = "settled",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show what happens.")] = False,
) -> None:
    """Wait for a task and print its result.

    Shows what happens meanwhile; the exit code says how it ended.
    """
    from tether.cli.following import Follower
    from tether.cli.running import finish, follow

    inv = invocation(ctx)
    if quiet or timeout is not None or until != "settled" or inv.as_json:
        raise typer.Exit(finish(inv, inv.client.wait(task_id, until=until, timeout=timeout)))
    inv.client.get(task_id)
    raise typer.Exit(follow(inv, Follower(client=inv.client, task_id=task_id, by=who(), care=lambda: None)))


def result(
    ctx: typer.Context,
    task_id: TaskId,
    partial: Annotated[bool, typer.Option("--partial", help="What there is so far will do.")] = False,
) -> None:
    """Print a task's result alone.

    The exit code says how it ended.
    """
    from tether.cli.output import print_json, print_value
    from tether.cli.running import finish

    inv = invocation(ctx)
    task = inv.client.get(task_id)
    if partial and task.state != "succeeded":
        if task.partial is None:
            raise Conflict(f"{task_id} has no partial result yet; see `tether show {task_id}`")
        (print_json if inv.as_json else print_value)(task.partial)
        raise typer.Exit(exits.of_task(task) if task.state not in ("queued", "running") else exits.OK)
    if task.state in ("queued", "running"):
        raise Conflict(f"{task_id} is still {task.state}; wait for it with `tether wait {task_id}`, or see --partial")
    if inv.as_json and task.state == "succeeded":
        print_json(task.result)
        raise typer.Exit(exits.OK)
    raise typer.Exit(finish(inv, task))


def state(
    ctx: typer.Context,
    task_id: TaskId,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, metavar="N", help="Of this attempt; else the last.", show_default=False)
    ] = None,
) -> None:
    """Show the inside of an attempt.

    The state saved before a kill (stacks, calls in flight, processes) and its last checkpoint.
    """
    from tether.cli.output import out, print_json
    from tether.cli.state_view import state_document, state_view

    inv = invocation(ctx)
    found = inv.client.state(task_id, attempt)
    if inv.as_json:
        print_json(state_document(found))
    else:
        out().print(state_view(found))


def approvals(ctx: typer.Context) -> None:
    """List what waits for a human."""
    from tether.cli.output import one_line, out, print_json, say

    inv = invocation(ctx)
    page = inv.client.approvals(limit=100)
    if inv.as_json:
        print_json({"data": [a.document() for a in page.data], "next_cursor": page.next_cursor})
        return
    if not page.data:
        say("nothing waits for a human", "dim")
    for approval in page.data:
        since = datetime.fromtimestamp(approval.created_at_ms / 1000, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        out().print(f"{approval.task_id}  {approval.kind:<9} {since}  {one_line(approval.question, 100)}")
