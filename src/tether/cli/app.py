"""The command line as a whole: global options, every command, and one place where errors become a line and a code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main

from tether import __version__
from tether.cli import administration, agents, api, decisions, executing, exits, fleet, keys, reading, submitting, working
from tether.cli.invocation import Invocation, hoist
from tether.errors import TetherError

__all__ = ["app", "call"]

EVERYWHERE = "Also everywhere: --json, --store URL, --server URL, --config FILE."

app = typer.Typer(
    name="tether",
    help="Takes an autonomous LLM agent to production.",
    epilog=f"Exit codes: {exits.MEANING}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tether {__version__}")
        raise typer.Exit()


@app.callback()
def everywhere(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what the REST API prints.")] = False,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="sqlite:///path, postgresql://… or a path; else the configured one."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="A server instead of a store; its key in TETHER_API_KEY."),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", metavar="FILE", help="Another tether.toml.")] = None,
    version: Annotated[  # noqa: ARG001 - its callback does it all
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command; they may also stand after it."""
    ctx.obj = Invocation(as_json=as_json, store=store, config=config, server=server)


for module in (submitting, executing, reading, decisions, working, fleet, api, keys, agents, administration):
    module.register(app, EVERYWHERE)


def call(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    words = hoist(arguments)
    as_json = "--json" in words
    try:
        return _call(words)
    except KeyboardInterrupt:
        return exits.DETACHED
    except BrokenPipeError:
        _drop_stdout()
        return exits.OK
    except TetherError as error:
        return _failed(error, as_json)
    except Exception as error:  # the last resort: a fault of ours must not show a traceback to a user
        return _failed(error, as_json)


def _call(words: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=words, prog_name="tether", standalone_mode=False)
    except typer.TyperException as error:
        place: Any = getattr(error, "ctx", None)
        raise exits.usage(error.format_message(), place.command_path if place is not None else "tether") from None
    except typer.Abort:
        return exits.DETACHED
    return code if isinstance(code, int) else exits.OK


def _failed(error: BaseException, as_json: bool) -> int:
    if exits.wants_traceback():
        import traceback

        traceback.print_exception(error)
    from tether.cli.output import print_error

    print_error(error, as_json=as_json)
    return exits.code_of(error)


def _drop_stdout() -> None:
    """The reader is gone (`| head`): let the interpreter flush into nothing."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
