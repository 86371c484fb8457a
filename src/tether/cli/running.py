"""What `tether run` does: find a model, see that a worker serves, submit, follow, ask, print the result."""

from __future__ import annotations

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
    client = inv.client
    task = client.check(options.task(goal)).task
    worker = BackgroundWorker(client, task.agent, inv.settings.home / "logs")
    _see_that_someone_serves(inv, task, worker)
    handle = client.submit(task, by=who())
    say(handle.id, "bold")
    return follow(inv, Follower(client=client, task_id=handle.id, by=who(), care=worker.care))


def _see_that_someone_serves(inv: Invocation, task: Task, worker: BackgroundWorker) -> None:
    if not worker.needed():
        return
    found = _model(inv.settings, task)
    worker.variables = inv.worker_environment() | environment(found)
    say(f"starting a worker{f' with {found.why}' if found is not None else ''} …", "dim")
    worker.start()
    worker.wait()


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
    """The model a new worker is given: the built-in agent cannot do without one, others may."""
    agent = settings.agent(task.agent)
    try:
        return choose(settings, task.model)
    except NoModel:
        if agent.kind == "builtin" and agent.model not in settings.models:
            raise
        return None
