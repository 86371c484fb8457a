"""`tether agents` and `tether init`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.cli.invocation import invocation
from tether.errors import ConfigurationError

if TYPE_CHECKING:
    from tether.config import AgentSettings

__all__ = ["register"]

_FILES = (("tether.toml", "tether.toml"), ("haiku.py", "agents/haiku.py"))


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands."""
    app.command("agents", epilog=epilog)(agents)
    app.command("init", epilog=epilog)(init)


def agents(ctx: typer.Context) -> None:
    """List the agents, and how many workers serve each."""
    from tether.cli.output import out, print_json

    inv = invocation(ctx)
    served = [agent for worker in inv.client.workers() for agent in worker.agents]
    rows = [_row(name, inv.settings.agent(name), served.count(name)) for name in inv.settings.agent_names()]
    if inv.as_json:
        print_json({"data": rows, "next_cursor": None})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("agent", "kind", "what", "model", "workers"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["name"], row["kind"], row["what"], row["model"], str(row["workers"]))
    out().print(table)


def _row(name: str, agent: AgentSettings, workers: int) -> dict[str, Any]:
    what = {"python": agent.entry, "command": " ".join(agent.command), "builtin": f"{len(agent.tools)} tools"}[agent.kind]
    return {"name": name, "kind": agent.kind, "what": what, "model": agent.model, "tools": list(agent.tools), "workers": workers}


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made when it is not there.")] = Path("."),
) -> None:
    """Write a commented tether.toml and an example agent.

    Overwrites nothing.
    """
    from tether.cli.output import say

    for _, name in _FILES:
        if (folder / name).exists():
            raise ConfigurationError(str(folder / name), "is there already", "choose another folder, or move it away")
    for source, name in _FILES:
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_template(source), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(str(target), f"cannot be written ({error.strerror})", "choose another folder") from None
        typer.echo(str(target))
    say("next: tether doctor, then tether run --agent haiku 'the sea in winter'", "dim")


def _template(name: str) -> str:
    return resources.files("tether.cli").joinpath("templates", name + ".txt").read_text(encoding="utf-8")
