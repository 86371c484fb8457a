"""What `tether run` does: find a model, see that a worker serves, submit, follow, ask, print the result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tether.cli import exits
from tether.cli.asking import decide, interactive
from tether.cli.following import Detached, Follower
from tether.cli.invocation import who
from tether.cli.live import view
from tether.cli.models import Found, NoModel, choose, environment
from tether.cli.output import clean, errors, print_json, print_value, say
from tether.cli.spawning import BackgroundWorker
from tether.cli.task_view import lines_of, outcome

if TYPE_CHECKING:
    from tether.cli.invocation import Invocation
    from tether.cli.task_options import TaskOptions
    from tether.config import Settings
    from tether.task import Task, TaskDocument

__all__ = ["finish", "follow", "run_task"]


def run_task(inv: Invocation, goal: str, options: TaskOptions) -> int:
    """Run one task in the foreground; the exit code."""
    task = options.task(goal)
    try:
        found = _model(inv.settings, task)
    except NoModel as error:
        return _say_no_model(error, as_json=inv.as_json)
    settings = _with_model(inv.settings, found)
    task = replace(task, model=found.alias) if found is not None and found.alias != "default" else task
    return _run(inv, settings, task, found)


def _run(inv: Invocation, settings: Settings, task: Task, found: Found | None) -> int:
    from tether.client import Client

    client = Client.of(settings)
    ready = client.check(task)
    variables = inv.worker_environment() | environment(found)
    model = found.alias if found is not None else None
    worker = BackgroundWorker(client, ready.task.agent, model, variables, settings.home / "logs")
    if worker.needed():
        say(f"starting a worker{f' with {found.why}' if found is not None else ''} …", "dim")
        worker.start()
        worker.wait()
    handle = client.submit(task, by=who())
    say(handle.id, "bold")

    def care() -> None:
        if worker.needed():
            worker.start()

    return follow(inv, Follower(client=client, task_id=handle.id, by=who(), care=care))


def follow(inv: Invocation, follower: Follower) -> int:
    """Follow a task to its end, asking the person at the terminal where it pauses; the exit code."""
    try:
        while True:
            task = follower.until_settled(view())
            if task.state != "paused" or not interactive() or not decide(follower.client, task, follower.by):
                return finish(inv, task)
    except Detached:
        return exits.DETACHED


def finish(inv: Invocation, task: TaskDocument) -> int:
    """Print how a settled task stands: the result alone on stdout, everything else on stderr; the exit code."""
    if inv.as_json:
        print_json(task.document())
        return exits.of_task(task)
    if task.state == "succeeded":
        print_value(task.result)
        return exits.OK
    say(
        clean(f"{task.id} is {task.state} ({task.reason}): {task.message}"),
        "bold yellow" if task.state == "paused" else "bold red",
    )
    if task.partial is not None:
        say("partial result", "dim")
        say(lines_of(task.partial, 20))
    for part in outcome(task):
        errors().print(part)
    return exits.of_task(task)


def _model(settings: Settings, task: Task) -> Found | None:
    """The model to bring along: only the built-in agent cannot do without one."""
    agent = settings.agent(task.agent) if task.agent in settings.agent_names() else None
    if agent is None or (agent.kind != "builtin" and task.model is None):
        return _if_any(settings)
    if agent.model != "default" and task.model is None:
        return None
    return choose(settings, task.model)


def _if_any(settings: Settings) -> Found | None:
    try:
        return choose(settings, None)
    except NoModel:
        return None


def _with_model(settings: Settings, found: Found | None) -> Settings:
    if found is None:
        return settings
    from tether.config import ModelSettings

    models = {**settings.models, found.alias: ModelSettings.model_validate(dict(found.values))}
    return settings.model_copy(update={"models": models})


def _say_no_model(error: NoModel, *, as_json: bool) -> int:
    if as_json:
        from tether.cli.output import print_error

        print_error(error, as_json=True)
        return exits.ERROR
    say(f"error: {error.field}: {error.problem}", "red")
    for text in error.lines:
        say(f"  {text}")
    return exits.ERROR
