"""`tether doctor` for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tether.cli.output import out

if TYPE_CHECKING:
    from tether.cli.check import Check

__all__ = ["print_checks"]

_MARKS = {"ok": ("✓", "green"), "note": ("•", "yellow"), "broken": ("✗", "bold red")}


def print_checks(found: Iterable[Check]) -> None:
    """A mark, what was found and the remedy, one check below the other."""
    table = Table.grid(padding=(0, 2))
    for check in found:
        mark, style = _MARKS[check.status]
        text = Text(check.found)
        if check.remedy:
            text.append(f"\n→ {check.remedy}", style="dim" if check.status == "ok" else style)
        table.add_row(Text(mark, style=style), Text(check.name), text)
    out().print(table)
