"""What README and quick start tell a new user to type works as written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from terminal import Terminal
from test_cli_run import place

__all__ = ["place"]

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = re.compile(r"```\w+\n# (tether\.toml|my_agent\.py)\n(.*?)```", re.DOTALL)


def test_the_readmes_own_agent_runs(place: Terminal) -> None:
    """The agent, the configuration and the command of the README give the result one expects."""
    readme = (ROOT / "README.md").read_text()
    files = dict(FILES.findall(readme))
    config = (place.folder / "tether.toml").read_text()
    (place.folder / "tether.toml").write_text(config + files["tether.toml"])
    (place.folder / "my_agent.py").write_text(files["my_agent.py"])
    line = next(text for text in readme.splitlines() if "--agent shout" in text)
    ended = place.run(*shlex.split(line)[1:])
    assert (ended.code, json.loads(ended.out)) == (0, ["LAND", "HO"]), ended


def test_the_pages_name_only_commands_and_options_that_exist() -> None:
    """Every `tether command --option` of the pages is one of the command line's."""
    import typer.main

    from tether.cli.app import app

    known = {name: _options(command) for name, command in typer.main.get_command(app).commands.items()}
    everywhere = {"--json", "--store", "--config", "--version", "--help"}
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")]:
        for name, rest in re.findall(r"(?:^|[`$( /])tether ([a-z]+)([^`\n|>#]*)", page.read_text()):
            if name in ("worker", "up") or name in known:
                options = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", rest))
                assert options <= known[name] | everywhere, (page.name, name, options - known[name])


def _options(command: Any) -> set[str]:
    """Options of a command, and of those below it."""
    below = (_options(c) for c in getattr(command, "commands", {}).values())
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}.union(*below)
