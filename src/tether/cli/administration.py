"""`tether doctor`, `tether db` and `tether demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from tether.cli import exits
from tether.cli.invocation import invocation, shown

__all__ = ["register"]

database = typer.Typer(help="Look after the store.", no_args_is_help=True)


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.command("doctor", epilog=epilog)(doctor)
    app.add_typer(database, name="db", epilog=epilog)
    app.command("demo", epilog=epilog)(demo)


def doctor(ctx: typer.Context) -> None:
    """Check this machine, and say what to do.

    Store, walls, models, prices, search, disk, clock. Exit 1 when something is broken.
    """
    from tether.cli.checkup import checks, failed
    from tether.cli.output import print_json

    inv = invocation(ctx)
    found = checks(inv)
    if inv.as_json:
        print_json({"data": [check.document() for check in found], "ok": not failed(found)})
    else:
        from tether.cli.checkup_view import print_checks

        print_checks(found)
    raise typer.Exit(exits.ERROR if failed(found) else exits.OK)


@database.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the store to this release.

    Makes it when there is none; safe to repeat.
    """
    from tether.cli.output import say
    from tether.store import open_store

    url = invocation(ctx).settings.store_url
    open_store(url, migrate=True).close()
    say(f"{shown(url)} is ready")


@database.command()
def check(ctx: typer.Context) -> None:
    """Open the store and count its tasks.

    Exit 1 when it cannot be used as it is.
    """
    from tether.cli.output import out, print_json
    from tether.store import open_store

    inv = invocation(ctx)
    url = inv.settings.store_url
    store = open_store(url)
    counts = store.counts()
    store.close()
    if inv.as_json:
        print_json({"store": shown(url), "tasks": counts})
        return
    out().print(f"{shown(url)} is ready")
    for state, number in counts.items():
        out().print(f"  {state:<10} {number:>8,}")


def demo(
    story: Annotated[
        list[int] | None,
        typer.Option("--story", min=1, max=5, metavar="N", help="Only this one (repeatable).", show_default=False),
    ] = None,
) -> None:
    """Play the story of the product in under a minute.

    Without a key: real processes, a scripted model. Keeps its journal for a look.
    """
    from tether.cli.demo import play

    raise typer.Exit(play(stories=story or []))
