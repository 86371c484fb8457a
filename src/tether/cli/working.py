"""`tether worker` and `tether up`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.invocation import Invocation, invocation, shown

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["register"]

Slots = Annotated[
    int | None,
    typer.Option(
        "--slots", min=1, max=10_000, metavar="N", help="Attempts at the same time; else the configured.", show_default=False
    ),
]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.command("up", epilog=epilog)(up)
    app.command("worker", epilog=epilog)(worker)


def worker(
    ctx: typer.Context,
    slots: Slots = None,
    idle_exit: Annotated[
        float | None,
        typer.Option("--idle-exit", min=0, metavar="S", help="End after so many seconds without work.", show_default=False),
    ] = None,
) -> None:
    """Work on the store's tasks until SIGTERM.

    Then what runs is handed back at a checkpoint, for another worker to go on with.
    """
    from tether.worker.supervisor import serve

    raise typer.Exit(serve(_settings(invocation(ctx)), slots=slots, idle_exit_s=idle_exit))


def up(ctx: typer.Context, slots: Slots = None) -> None:
    """Serve here: a store, the API and a worker, until Ctrl-C."""
    from tether.cli.beside import ApiProcess
    from tether.cli.output import say
    from tether.store import open_store
    from tether.worker.supervisor import serve

    inv = invocation(ctx)
    settings = _settings(inv)
    open_store(settings.store_url).close()
    say(f"store   {shown(settings.store_url)}")
    say(f"agents  {', '.join(settings.agent_names())}")
    say('submit  tether submit "…"   list  tether list   stop  Ctrl-C')
    beside = ApiProcess(inv)
    try:
        code = serve(settings, slots=slots, idle_exit_s=None)
    finally:
        beside.stop()
    raise typer.Exit(code)


def _settings(inv: Invocation) -> Settings:
    """The configuration, with a model by a key or a local server when it names none.

    Without any model the agents that need one are left out; raises NoModel when none is left.
    """
    from tether.cli.models import NoModel, choose, environment
    from tether.cli.output import say

    try:
        found = choose(inv.settings)
    except NoModel:
        return _without_models(inv.settings)
    if found is None:
        return inv.settings
    say(f"model   {found.why}", "dim")
    # gateways and zygotes of this worker read the same variables
    os.environ.update(environment(found) | inv.worker_environment())
    return Invocation(config=inv.config, store=inv.store).settings


def _without_models(settings: Settings) -> Settings:
    from tether.cli.models import NoModel
    from tether.cli.output import say

    wanted = settings.worker.agents or settings.agent_names()
    able = [n for n in wanted if settings.agent(n).kind != "builtin" or settings.agent(n).model in settings.models]
    if not able:
        raise NoModel
    if len(able) < len(wanted):
        left_out = ", ".join(sorted(set(wanted) - set(able)))
        say(f"warning: models.default: there is no model to ask, so {left_out} is not served; see `tether doctor`", "yellow")
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"agents": able})})
