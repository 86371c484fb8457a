"""`tether exec`: any program under limits, with the journal, the pause and the live view; no configuration needed."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli import adhoc, exits
from tether.cli.invocation import Invocation, invocation, who
from tether.cli.task_options import TaskOptions, pairs, takes_some_task_options
from tether.errors import ValidationError

if TYPE_CHECKING:
    from tether.cli.models import Found
    from tether.cli.spawning import BackgroundWorker
    from tether.cli.streaming import ProgramView
    from tether.client import Client
    from tether.config import Settings
    from tether.task import TaskDocument

__all__ = ["register"]

_GOAL_CHARS = 2000
_OWN_END = frozenset({"agent_error", "resource_limit"})
_OPTIONS = (
    *("max_usd", "max_llm_calls", "max_web_requests", "max_tokens", "max_tool_calls", "max_steps"),
    *("tool_s", "step_s", "task_s", "idle_s", "approval_s", "on_budget_exceeded", "max_attempts"),
    *("model", "tag", "metadata", "prohibit", "user"),
)


def register(app: typer.Typer, epilog: str) -> None:
    """Add the command."""
    app.command("exec", epilog=epilog, context_settings={"allow_interspersed_args": False})(execute)


@takes_some_task_options(*_OPTIONS)
def execute(
    ctx: typer.Context,
    options: TaskOptions,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD ARG…", help="The program and its arguments.", show_default=False)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME[=TEXT]", help="A variable it gets too (repeatable).", show_default=False),
    ] = None,
    readable: Annotated[
        list[str] | None, typer.Option("--readable", metavar="PATH", help="A further path it may read.", show_default=False)
    ] = None,
    writable: Annotated[
        list[str] | None, typer.Option("--writable", metavar="PATH", help="A further folder it may write.", show_default=False)
    ] = None,
    attach: Annotated[
        str | None,
        typer.Option("--attach", metavar="ID", help="Instead of CMD: go on with that task of `exec`.", show_default=False),
    ] = None,
) -> None:
    """Run any program under limits and a budget, in the current folder.

    Its model calls go through the gateway: OPENAI_BASE_URL, ANTHROPIC_BASE_URL and a token are in its environment. Its
    output comes out here, and its exit code is this command's; one that a limit ended exits with 5 (paused) or 6 (time).
    """
    inv = invocation(ctx)
    if attach is not None:
        raise typer.Exit(_again(inv, attach, command))
    program = _program(command, _variables(env), readable, writable)
    raise typer.Exit(_run(inv, program, options))


def _program(
    command: list[str] | None, env: dict[str, str], readable: list[str] | None, writable: list[str] | None
) -> adhoc.AdHoc:
    from tether.cli.programs import folders_of, variables_of

    if not command:
        raise ValidationError("CMD", "is missing", "write tether exec --max-usd 1 -- python my_agent.py")
    folder = os.getcwd()
    if folder == "/":
        raise ValidationError("folder", "/ would be the program's to write", "start it in a folder of its own")
    variables = variables_of(os.environ) | env
    own = [str(Path(path).expanduser().absolute()) for path in readable or ()]
    return adhoc.AdHoc(
        command=tuple(command),
        folder=folder,
        env=variables,
        readable=tuple(dict.fromkeys([*folders_of(command[0], {**os.environ, **env}), *own])),
        writable=tuple(str(Path(path).expanduser().absolute()) for path in writable or ()),
    )


def _variables(given: list[str] | None) -> dict[str, str]:
    """--env NAME takes the value from here, --env NAME=TEXT brings it."""
    words = given or []
    missing = next((word for word in words if "=" not in word and word not in os.environ), None)
    if missing is not None:
        raise ValidationError("--env", f"{missing} is not set", f"write --env {missing}=…, or leave it out")
    return pairs("--env", [word if "=" in word else f"{word}={os.environ[word]}" for word in words])


def _run(inv: Invocation, program: adhoc.AdHoc, options: TaskOptions) -> int:
    from tether.cli.output import say

    client, settings = _place(inv, program)
    goal = shlex.join(program.command)[:_GOAL_CHARS]
    chosen = replace(options, agent=program.name, task_type="exec", max_attempts=options.max_attempts or 1)
    task = client.check(chosen.task(goal)).task
    if program.folder == str(Path.home()):
        say("warning: all of your home folder is open to it; start it in a folder of its own", "yellow")
    adhoc.save(program, settings.home)
    worker = _worker(inv, client, settings, program)
    handle = client.submit(task, by=who())
    say(f"{handle.id}  {goal}", "dim")
    return _follow(inv, client, handle.id, worker)


def _again(inv: Invocation, task_id: str, command: list[str] | None) -> int:
    if command:
        raise ValidationError("CMD", "and --attach were both given", "give one of them")
    task = inv.client.get(task_id)
    program = adhoc.load(task.agent, inv.settings.home)
    client, settings = _place(inv, program)
    worker = _worker(inv, client, settings, program) if task.ended_at_ms is None else None
    return _follow(inv, client, task_id, worker)


def _place(inv: Invocation, program: adhoc.AdHoc) -> tuple[Client, Settings]:
    """A client straight on the store, with the program among its agents: no server takes commands from elsewhere."""
    from tether.client import Client

    if inv.server is not None:
        raise ValidationError("--server", "cannot run programs of this machine", "leave it out; `exec` works on a store")
    settings = program.settings(inv.settings)
    return Client.of(settings), settings


def _worker(inv: Invocation, client: Client, settings: Settings, program: adhoc.AdHoc) -> BackgroundWorker:
    from tether.cli.models import NoModel, choose, environment
    from tether.cli.output import say
    from tether.cli.spawning import BackgroundWorker

    worker = BackgroundWorker(client, program.name, settings.home / "logs")
    found: Found | None = None
    try:
        found = choose(settings)
    except NoModel:
        if not settings.models:
            say("no model is configured and no key is set: its model calls will be refused", "dim")
    worker.variables = inv.worker_environment() | environment(found) | _second(found) | program.environment(settings)
    if worker.needed():
        say(f"starting a worker{f' with {found.why}' if found is not None else ''} …", "dim")
        worker.start()
        worker.wait()
    return worker


def _second(found: Found | None) -> dict[str, str]:
    """A program may speak both vendors' APIs: with both keys here, the second vendor's server is served too."""
    from tether.cli.models import HOSTED

    if found is None or found.server.get("kind") == "anthropic":
        return {}
    other = next(hosted for hosted in HOSTED if hosted.name == "Anthropic")
    if not os.environ.get(other.key_env):
        return {}
    upstream = os.environ.get(other.base_env) or other.upstream
    section = {"UPSTREAM": upstream, "KEY_ENV": other.key_env, "KIND": "anthropic"}
    return {f"TETHER_MODELS__ANTHROPIC__{key}": value for key, value in section.items()}


def _follow(inv: Invocation, client: Client, task_id: str, worker: BackgroundWorker | None) -> int:
    """Follow the program to its end, asking the person at the terminal where it waits for one; the exit code."""
    from tether.cli.asking import decide, interactive
    from tether.cli.following import Detached, Follower
    from tether.cli.streaming import ProgramView

    view = ProgramView(out_to_errors=inv.as_json)
    follower = Follower(client=client, task_id=task_id, by=who(), care=worker.care if worker is not None else lambda: None)
    try:
        while True:
            task = follower.until_settled(view)
            if task.state != "paused" or not interactive() or not decide(client, task, who()):
                return _finish(inv, task, view)
    except Detached:
        return exits.DETACHED


def _finish(inv: Invocation, task: TaskDocument, view: ProgramView) -> int:
    from tether.cli.output import clean, errors, print_json, say
    from tether.cli.task_view import outcome

    code = exit_of(task, view.exit)
    if inv.as_json:
        print_json(task.document())
    elif task.state == "paused":
        say(clean(f"{task.id} is paused ({task.reason}): {task.message}"), "bold yellow")
        for part in outcome(task):
            errors().print(part)
        say(f"then: tether exec --attach {task.id}", "dim")
    elif task.state != "succeeded":
        say(clean(f"{task.id} is {task.state} ({task.reason}): {task.message}"), "bold red")
    return code


def exit_of(task: TaskDocument, exit: int | None) -> int:
    """The program's own exit code where it ended by itself (128 + the signal, as shells say), else the one of its limit."""
    if task.state == "failed" and task.reason in _OWN_END and exit:
        return exit if exit > 0 else 128 - exit
    return exits.of_task(task)
