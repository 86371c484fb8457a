"""`tether keys`: making, listing, rotating and revoking keys, straight in the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.invocation import Invocation, invocation, who
from tether.errors import Conflict, TetherError, ValidationError

if TYPE_CHECKING:
    from tether.store import Store
    from tether.store.access_rows import KeyRow

__all__ = ["register"]

keys = typer.Typer(help="Keys of the API: who may do what, for which tenant.", no_args_is_help=True)
_DAY_MS = 86_400_000
_SCOPES = "submit, read, approve, admin, tenants:any"
_DEFAULT_SCOPES = ("submit", "read", "approve")


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.add_typer(keys, name="keys", epilog=epilog)


@contextlib.contextmanager
def _store(inv: Invocation) -> Generator[Store]:
    from tether.store import open_store

    store = open_store(inv.settings.store_url)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _audited(store: Store, action: str, about: str, tenant: str) -> Generator[None]:
    from tether.store.access_rows import NewAudit

    line = store.audit_begin(NewAudit(tenant=tenant, actor=f"{who()} (tether keys)", action=action, object=about))
    try:
        yield
    except TetherError as error:
        store.audit_end(line, error.code)
        raise
    store.audit_end(line, "done")


@keys.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for, shown in lists.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="submit, read, approve, admin or tenants:any; repeatable.", show_default=False
        ),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose tasks it sees.")] = "default",
    expires_days: Annotated[
        int | None,
        typer.Option("--expires-days", min=1, max=3650, metavar="N", help="Else it never ends.", show_default=False),
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", min=1, max=1_000_000, metavar="N", help="Requests a second.", show_default=False)
    ] = None,
) -> None:
    """Make a key and print it, once.

    Without --scope it may submit, read and approve.
    """
    from tether.store.access_rows import NewKey
    from tether.task import Task
    from tether.web.access import SCOPES, new_token

    scopes = tuple(scope or _DEFAULT_SCOPES)
    for one in scopes:
        if one not in SCOPES:
            raise ValidationError("--scope", f"{one!r} is unknown", f"use {', '.join(SCOPES)}")
    Task(goal="x", tenant=tenant)
    token, prefix, hashed = new_token()
    expires = None if expires_days is None else time.time_ns() // 1_000_000 + expires_days * _DAY_MS
    new = NewKey(
        tenant=tenant,
        name=name,
        prefix=prefix,
        hash=hashed,
        scopes=tuple(one for one in SCOPES if one in scopes),
        created_by=who(),
        expires_at_ms=expires,
        rate_per_s=rate,
    )
    inv = invocation(ctx)
    with _store(inv) as store, _audited(store, "key_create", name, tenant):
        made = store.add_key(new)
    _print_new(inv, made, token)


@keys.command("list")
def listed(ctx: typer.Context) -> None:
    """List keys, newest first; none of them in full."""
    from tether.cli.output import out, print_json

    inv = invocation(ctx)
    with _store(inv) as store:
        found: list[KeyRow] = []
        cursor: str | None = None
        while True:
            page = store.keys(limit=200, cursor=cursor)
            found += page.data
            cursor = page.next_cursor
            if cursor is None:
                break
    if inv.as_json:
        print_json({"data": [key.document() for key in found], "next_cursor": None})
        return
    from rich.table import Table

    table = Table("id", "name", "starts with", "tenant", "scopes", "last used", "", box=None)
    for key in found:
        shown = key.document()
        table.add_row(
            key.id, key.name, key.prefix, key.tenant, " ".join(key.scopes), shown["last_used_at"] or "never", _standing(key)
        )
    out().print(table)


@keys.command()
def revoke(ctx: typer.Context, key_id: Annotated[str, typer.Argument(metavar="ID", help="Of `tether keys list`.")]) -> None:
    """Make a key worthless, everywhere within a second."""
    from tether.cli.output import say

    with _store(invocation(ctx)) as store, _audited(store, "key_revoke", key_id, store.key(key_id).tenant):
        store.revoke_key(key_id)
    say(f"{key_id} is revoked")


@keys.command()
def rotate(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Of `tether keys list`.")],
    overlap_h: Annotated[int, typer.Option("--overlap-hours", min=0, max=720, metavar="N", help="Life of the old one.")] = 24,
) -> None:
    """Make a new key with the same scopes, and let the old one end."""
    from tether.store.access_rows import NewKey
    from tether.web.access import new_token

    inv = invocation(ctx)
    now_ms = time.time_ns() // 1_000_000
    token, prefix, hashed = new_token()
    with _store(inv) as store:
        old = store.key(key_id)
        if not old.valid(now_ms):
            raise Conflict(f"{key_id} is not valid any more; make a new one with `tether keys create`")
        lives = None if old.expires_at_ms is None else now_ms + old.expires_at_ms - old.created_at_ms
        new = NewKey(
            tenant=old.tenant,
            name=old.name,
            prefix=prefix,
            hash=hashed,
            scopes=old.scopes,
            created_by=who(),
            expires_at_ms=lives,
            rate_per_s=old.rate_per_s,
        )
        with _audited(store, "key_rotate", key_id, old.tenant):
            made = store.add_key(new)
            store.revoke_key(key_id, at_ms=now_ms + overlap_h * 3_600_000)
    _print_new(inv, made, token)


def _print_new(inv: Invocation, made: KeyRow, token: str) -> None:
    from tether.cli.output import print_json, say

    if inv.as_json:
        print_json({**made.document(), "key": token})
        return
    say(f"{made.id}: {' '.join(made.scopes)} for tenant {made.tenant}; it is shown only now:")
    typer.echo(token)


def _standing(key: KeyRow) -> str:
    if key.revoked_at_ms is not None:
        return "revoked"
    return "" if key.valid(time.time_ns() // 1_000_000) else "expired"
