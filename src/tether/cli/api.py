"""`tether api`, and what looks after the store's content: `tether db prune` and `tether db export`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from tether.cli.administration import database
from tether.cli.invocation import invocation

__all__ = ["register"]

_DAY_S = 86400.0
_PAGE = 200


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.command("api", epilog=epilog)(api)
    database.command("prune", epilog=epilog)(prune)
    database.command("export", epilog=epilog)(export)


def api(
    ctx: typer.Context,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address; else the configured.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, metavar="N", help="Port; else the configured.", show_default=False)
    ] = None,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
) -> None:
    """Serve the REST API until SIGTERM.

    Its address and a key are left in api.json of the data folder, readable by this user only, where the client finds them.
    """
    from tether.web.server import serve

    settings = invocation(ctx).settings
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"api": settings.api.model_copy(update=given)})
    raise typer.Exit(serve(settings, parent=parent))


def prune(
    ctx: typer.Context,
    days: Annotated[
        int | None,
        typer.Option("--older-than", min=1, metavar="DAYS", help="Else [journal] retain_days.", show_default=False),
    ] = None,
) -> None:
    """Delete tasks that ended long ago, with all that belongs to them.

    Old audit lines, webhook deliveries and uploaded files go with them.
    """
    from dataclasses import asdict

    from tether.cli.output import out, print_json
    from tether.files import open_files
    from tether.store import open_store
    from tether.web import retention

    inv = invocation(ctx)
    store = open_store(inv.settings.store_url)
    try:
        older_s = (days or inv.settings.journal.retain_days) * _DAY_S
        gone = retention.prune(inv.settings, store, open_files(inv.settings.files), older_s)
    finally:
        store.close()
    if inv.as_json:
        print_json(asdict(gone))
    else:
        out().print(f"deleted {gone.tasks:,} tasks, {gone.lines:,} audit lines and deliveries, {gone.files:,} files")


def export(
    ctx: typer.Context,
    events: Annotated[bool, typer.Option("--events", help="After each task its journal, one event per line.")] = False,
) -> None:
    """Write every task to stdout, one JSON document per line, newest first."""
    from tether.store import open_store

    store = open_store(invocation(ctx).settings.store_url)
    try:
        cursor: str | None = None
        while True:
            page = store.tasks(limit=_PAGE, cursor=cursor)
            for task in page.data:
                sys.stdout.write(json.dumps(task.document()) + "\n")
                after = 0
                while events and (found := store.events(task.id, after=after, limit=_PAGE)):
                    sys.stdout.writelines(json.dumps(event.document()) + "\n" for event in found)
                    after = found[-1].seq
            cursor = page.next_cursor
            if cursor is None:
                return
    finally:
        store.close()
