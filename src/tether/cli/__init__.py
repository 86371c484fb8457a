"""The command line; `main` is the entry point, the rest is read only when a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (see tether.cli.exits)."""
    from tether.cli.app import call

    sys.exit(call(list(sys.argv[1:] if argv is None else argv)))
