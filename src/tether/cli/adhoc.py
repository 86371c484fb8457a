"""A program that no configuration names, as an agent: only the worker this user starts for it knows it (decision exec).

The definition is kept in the data folder, readable by this user alone, so that the task can go on later.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tether.errors import ValidationError

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["AdHoc", "load", "save"]

_OUTPUT_KB = 16_384


@dataclass(frozen=True, kw_only=True)
class AdHoc:
    """command: program and arguments; folder: code and workspace in one, absolute; env: its variables on top of the attempt's."""

    command: tuple[str, ...]
    folder: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The agent's name: the same for the same program in the same folder."""
        facts = json.dumps(asdict(self), sort_keys=True)
        return f"exec_{hashlib.sha256(facts.encode(errors='surrogateescape')).hexdigest()[:12]}"

    def settings(self, base: Settings) -> Settings:
        """`base` with this agent."""
        from tether.config import AgentSettings

        agent = AgentSettings.model_validate(self._section())
        return base.model_copy(update={"agents": {**base.agents, self.name: agent}})

    def environment(self, base: Settings) -> dict[str, str]:
        """Variables for a worker that serves this agent and no other."""
        output_kb = max(base.worker.output_kb, _OUTPUT_KB)
        return {
            f"TETHER_AGENTS__{self.name.upper()}": json.dumps(self._section()),
            "TETHER_WORKER__AGENTS": json.dumps([self.name]),
            "TETHER_WORKER__OUTPUT_KB": str(output_kb),
        }

    def _section(self) -> dict[str, object]:
        return {
            "kind": "command",
            "command": list(self.command),
            "code_dir": self.folder,
            "in_place": True,
            "env": dict(self.env),
            "readable": list(self.readable),
            "writable": list(self.writable),
        }


def save(adhoc: AdHoc, home: Path) -> None:
    """Keep the definition for later attempts; mode 0600."""
    folder = home / "exec"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / f"{adhoc.name}.json"
    part = place.with_suffix(f".{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(adhoc), file)
    part.replace(place)


def load(name: str, home: Path) -> AdHoc:
    """The definition of that agent; raises ValidationError when this user has none here."""
    place = home / "exec" / f"{name}.json"
    try:
        given = json.loads(place.read_text(encoding="utf-8")) if name.startswith("exec_") else None
    except OSError:
        given = None
    if given is None:
        raise ValidationError("--attach", f"agent {name!r} is not a program started here by `tether exec`", "see `tether wait`")
    return AdHoc(
        command=_words(given["command"]),
        folder=given["folder"],
        env=given["env"],
        readable=_words(given["readable"]),
        writable=_words(given["writable"]),
    )


def _words(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(given)
