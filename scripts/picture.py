"""Write docs/images/demo.svg: what `tether demo` prints on a terminal, stories 2 and 3, from a real performance."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 118
TARGET = Path(__file__).parent.parent / "docs" / "images" / "demo.svg"
_FONT_FACES = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def perform() -> str:
    """The demo's output with its colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = [sys.executable, "-m", "tether", "demo", "--story", "2", "--story", "3"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit("the demo failed; no picture was made")
    return seen.decode().replace("\r\n", "\n")


def main() -> None:
    """Perform and draw."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115 - lives as long as we do
    for line in perform().splitlines():
        console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)
    # without the faces nothing is loaded from elsewhere; a monospace font of the reader's is used
    drawn = _FONT_FACES.sub("", console.export_svg(title="tether demo"))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(drawn.replace("Fira Code", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono'"), encoding="utf-8")


if __name__ == "__main__":
    main()
