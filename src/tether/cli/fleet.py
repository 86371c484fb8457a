"""`tether workers`, `tether hold`, `tether holds` and `tether release`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.cli.invocation import invocation, who
from tether.task import rfc3339

if TYPE_CHECKING:
    from tether.store import Store
    from tether.store.rows import Hold, WorkerRow

__all__ = ["register"]

Named = Annotated[str | None, typer.Option(metavar="NAME", show_default=False)]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    for command in (workers, hold, holds, release):
        app.command(command.__name__, epilog=epilog)(command)


def workers(ctx: typer.Context) -> None:
    """List the workers that live, and what they hold.

    Exit 1 when there is none.
    """
    from tether.cli.output import out, print_json

    inv = invocation(ctx)
    rows = inv.client.workers()
    if inv.as_json:
        print_json({"data": [_document(row) for row in rows], "next_cursor": None})
    elif not rows:
        out().print("no worker; start one with `tether worker`")
    else:
        out().print(_table(rows))
    raise typer.Exit(0 if rows else 1)


def hold(
    ctx: typer.Context,
    stop: Annotated[str, typer.Argument(metavar="claims|calls", help="New attempts, or model calls of running ones.")],
    agent: Named = None,
    task_type: Named = None,
    model: Named = None,
    tenant: Named = None,
    note: Annotated[str, typer.Option(help="Why, for the others.", show_default=False)] = "",
) -> None:
    """Stop what matches all options given (everything without any), until released."""
    from tether.cli.output import out, print_json

    with _store(ctx) as store:
        made = store.hold(stop=stop, agent=agent, task_type=task_type, model=model, tenant=tenant, note=note, by=who())
    if invocation(ctx).as_json:
        print_json(_held(made))
    else:
        out().print(f"{made.id}: {_words(made)}; release it with `tether release {made.id}`")


def holds(ctx: typer.Context) -> None:
    """List the holds in force."""
    from tether.cli.output import out, print_json

    with _store(ctx) as store:
        found = store.holds()
    if invocation(ctx).as_json:
        print_json({"data": [_held(one) for one in found], "next_cursor": None})
        return
    for one in found:
        out().print(f"{one.id}  {_words(one)}  since {rfc3339(one.created_at_ms)}  {one.note}".rstrip())


def release(ctx: typer.Context, hold_id: Annotated[str, typer.Argument(metavar="ID", help="Of `tether holds`.")]) -> None:
    """Take a hold back; what waited goes on."""
    from tether.cli.output import say

    with _store(ctx) as store:
        store.release(hold_id)
    say(f"released {hold_id}")


@contextmanager
def _store(ctx: typer.Context) -> Generator[Store]:
    from tether.store import open_store

    store = open_store(invocation(ctx).settings.store_url)
    try:
        yield store
    finally:
        store.close()


def _document(row: WorkerRow) -> dict[str, Any]:
    times = {"started_at": row.started_at_ms, "beat_at": row.beat_at_ms, "lease_until": row.lease_until_ms}
    kept = {key: value for key, value in asdict(row).items() if key not in ("boot_id", "start_time") and not key.endswith("_ms")}
    return {**kept, **{key: rfc3339(value) for key, value in times.items()}}


def _table(rows: list[WorkerRow]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("worker", "state", "attempts", "agents", "version", "last beat"):
        table.add_column(column)
    for row in rows:
        age = max(time.time() - row.beat_at_ms / 1000, 0)
        table.add_row(row.id, row.state, f"{row.leases}/{row.slots}", ", ".join(row.agents), row.version, f"{age:.0f} s ago")
    return table


def _held(one: Hold) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key != "created_at_ms"} | {
        "created_at": rfc3339(one.created_at_ms)
    }


def _words(one: Hold) -> str:
    named = {"agent": one.agent, "task type": one.task_type, "model": one.model, "tenant": one.tenant}
    what = ", ".join(f"{key} {value}" for key, value in named.items() if value is not None)
    return f"no {one.stop} of {what or 'anything'}"
