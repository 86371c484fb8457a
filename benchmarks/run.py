"""Runs the benchmarks of this folder and prints their figures beside the goals.

`python benchmarks/run.py [NAME …] [--json]`: each other file here with a function `rows()` is one; NAME picks some. Exit
code 1 when a goal is missed. Figures hold for the machine they were taken on; the goals are for two cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rows import Row

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """All benchmarks: files of this folder that define rows()."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if "\ndef rows(" in p.read_text())


def measure(picked: list[str]) -> Iterator[tuple[str, Row]]:
    """The figures of these benchmarks, one after another."""
    for name in picked:
        print(f"measuring {name} …", file=sys.stderr)
        for row in importlib.import_module(name).rows():
            yield name, row


def table(found: list[tuple[str, Row]]) -> Table:
    """The figures as a table."""
    title = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    out = Table("benchmark", "figure", "measured", "goal", "", title=title)
    out.columns[2].justify = out.columns[3].justify = "right"
    for name, row in found:
        goal = "" if row.goal is None else f"{'≤' if row.at_most else '≥'} {row.goal:,g} {row.unit}"
        verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[row.met]
        measured = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:,.3g}"
        out.add_row(name, row.name + (f" ({row.note})" if row.note else ""), f"{measured} {row.unit}", goal, verdict)
    return out


def main(argv: list[str]) -> int:
    """Measure, print, and say by the exit code whether every goal was met."""
    parser = argparse.ArgumentParser(prog="make bench", description="Figures beside their goals.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all when left out")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args(argv)
    unknown = sorted(set(given.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    found = list(measure(given.names or names()))
    if given.json:
        for name, row in found:
            print(json.dumps({"benchmark": name, **asdict(row), "met": row.met}))
    else:
        Console().print(table(found))
    return 1 if any(row.met is False for _, row in found) else 0


if __name__ == "__main__":
    sys.path[:0] = [str(FOLDER.parent / "tests"), str(FOLDER.parent / "tests" / "worker")]  # for servers and sites of workers
    sys.exit(main(sys.argv[1:]))
