"""`tether run` and `tether submit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.cli import exits
from tether.cli.invocation import Invocation, invocation, who
from tether.cli.task_options import TaskOptions, takes_task_options
from tether.errors import ValidationError

if TYPE_CHECKING:
    from tether.task import Task

__all__ = ["register"]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.command("run", epilog=epilog)(run)
    app.command("submit", epilog=epilog)(submit)


@takes_task_options
def run(
    ctx: typer.Context,
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is wanted; - reads it from stdin.", show_default=False)],
    options: TaskOptions,
) -> None:
    """Give an agent a goal and watch it to its end.

    The result alone goes to stdout, everything else to stderr. A worker is started in the background when none
    serves the agent. Ctrl-C leaves the task running, twice cancels it.
    """
    from tether.cli.running import run_task

    raise typer.Exit(run_task(invocation(ctx), _goal(goal), options))


@takes_task_options
def submit(
    ctx: typer.Context,
    options: TaskOptions,
    goal: Annotated[
        str | None, typer.Argument(metavar="GOAL", help="What is wanted; - reads it from stdin.", show_default=False)
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="A task as JSON, as the REST API takes it; - is stdin. Options win over it."),
    ] = None,
) -> None:
    """Put a task into the store and print its id."""
    from tether.cli.output import print_json, say

    inv = invocation(ctx)
    handle = inv.client.submit(_task(goal, from_file, options), by=who())
    if inv.as_json:
        print_json(handle.document().document())
    else:
        typer.echo(handle.id)
        for warning in _warnings(inv, handle.id):
            say(f"warning: {warning}", "yellow")
    raise typer.Exit(exits.OK)


def _warnings(inv: Invocation, task_id: str) -> list[str]:
    first = next(iter(inv.client.events(task_id)), None)
    return [str(w) for w in (first.data.get("warnings") or ())] if first is not None else []


def _task(goal: str | None, from_file: str | None, options: TaskOptions) -> Task:
    base = None if from_file is None else _document(from_file)
    if goal is None:
        if base is None or "goal" not in base:
            raise ValidationError("GOAL", "is missing", 'say what is wanted: tether submit "…", or --from FILE')
        return options.task(str(base["goal"]), base)
    return options.task(_goal(goal), base)


def _document(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise ValidationError("--from", f"{name!r} cannot be read ({error.strerror})", "check the path") from None
    except ValueError as error:
        raise ValidationError("--from", f"{name!r} is not JSON ({error})", "mend the file") from None
    if not isinstance(found, dict):
        raise ValidationError("--from", f"{name!r} holds a {type(found).__name__}, not an object", 'write {"goal": "…"}')
    return found


def _goal(text: str) -> str:
    if text != "-":
        return text
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise ValidationError("GOAL", "stdin is not UTF-8 text", "convert it") from None
