"""The options every command has (`--json`, `--store`, `--config`) and what they lead to: settings and a client."""

from __future__ import annotations

import functools
import getpass
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tether.errors import ValidationError

if TYPE_CHECKING:
    import typer

    from tether.client import Client
    from tether.config import Settings

__all__ = ["Invocation", "hoist", "invocation", "shown", "who"]

_FLAGS = frozenset({"--json"})
_VALUED = frozenset({"--store", "--config", "--server"})


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What was said before or after the command's own arguments: output as JSON, another store, another tether.toml."""

    as_json: bool = False
    store: str | None = None
    config: str | None = None
    server: str | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        """The configuration, with `--store` in force; raises ConfigurationError."""
        from tether.config import load

        if self.config is not None and not Path(self.config).expanduser().is_file():
            raise ValidationError(
                "--config", f"there is no file {self.config!r}", "write one with `tether init`, or leave it out"
            )
        settings = load(self.config)
        if self.store is None:
            return settings
        return settings.model_copy(update={"store": settings.store.model_copy(update={"url": store_url(self.store)})})

    @functools.cached_property
    def client(self) -> Client:
        """A client on the store in force."""
        from tether.client import Client

        if self.server is not None:
            if self.store is not None:
                raise ValidationError("--server", "and --store were both given", "give one of them")
            return Client(self.server)
        if self.store is None and os.environ.get("TETHER_API_URL"):
            return Client()
        return Client.of(self.settings)

    def worker_environment(self) -> dict[str, str]:
        """Variables that give a process of ours the same store and configuration."""
        settings = self.settings
        file = settings.file
        out = {"TETHER_STORE__URL": settings.store_url, "TETHER_DATA_DIR": str(settings.home)}
        return out | ({"TETHER_CONFIG": str(file)} if file else {})


def store_url(text: str) -> str:
    """A store URL from `--store`: a URL, or the path of a SQLite file; relative to the current folder."""
    if text.startswith("sqlite:///"):
        return f"sqlite:///{Path(text.removeprefix('sqlite:///')).expanduser().absolute()}"
    if text.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
        return text
    if "://" in text or not text:
        raise ValidationError("--store", f"{text!r} is not a store", "write sqlite:///path, postgresql://… or a path")
    return f"sqlite:///{Path(text).expanduser().absolute()}"


def invocation(ctx: typer.Context) -> Invocation:
    """What `ctx` carries."""
    found = ctx.find_object(Invocation)
    return found if found is not None else Invocation()


def who() -> str:
    """Who is at the keyboard, for the journal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def hoist(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options first, so that they may also stand after the command; not behind `--`."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*first, *rest, word, *left]
        if word in _FLAGS or (word.split("=", 1)[0] in _VALUED and "=" in word):
            first.append(word)
        elif word in _VALUED and left:
            first += [word, left.pop(0)]
        else:
            rest.append(word)
    return [*first, *rest]


def shown(url: str) -> str:
    """A store URL for people: without its password."""
    return re.sub(r"(?<=://)([^:/@]*):[^@]*@", r"\1:…@", url)
