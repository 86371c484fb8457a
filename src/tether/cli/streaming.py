"""What `tether exec` shows: the program's own output on its own streams, and the live view of its limits around it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from tether.cli.live import LivePanel, PlainLines, View
from tether.cli.output import clean, errors

if TYPE_CHECKING:
    from tether.events import Event
    from tether.task import TaskDocument

__all__ = ["ProgramView"]

#: Beside a program's own lines on stderr these say nothing that its end does not say.
_QUIET = frozenset({"attempt_started", "attempt_ended", "task_succeeded", "task_failed", "task_submitted"})


class ProgramView:
    """Passes on what the program wrote; exit: how its last attempt ended (minus the signal), None while nobody knows.

    On a terminal the lines go above the panel, whole and without control characters; elsewhere byte for byte as journaled.
    """

    def __init__(self, *, out_to_errors: bool = False) -> None:
        self._moves = errors().is_terminal
        self._view: View = LivePanel() if self._moves else PlainLines()
        self._streams = {"stdout": sys.stderr if out_to_errors else sys.stdout, "stderr": sys.stderr}
        self._begun: dict[str, str] = {}
        self.exit: int | None = None

    def __enter__(self) -> ProgramView:
        self._view.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, text in self._begun.items():
            if text:
                self._above(text)
            self._begun[name] = ""
        self._view.__exit__(kind, error, trace)

    def show(self, events: Iterable[Event], task: TaskDocument) -> None:
        """Write the output that came, and show the rest."""
        told: list[Event] = []
        for event in events:
            if event.type == "output":
                self._write(str(event.data.get("stream")), str(event.data.get("text") or ""))
                self._lost(event)
            elif event.type == "attempt_ended":
                found = event.data.get("exit")
                self.exit = found if isinstance(found, int) else None
            if event.type != "output" and (self._moves or event.type not in _QUIET):
                told.append(event)
        self._view.show(told, task)

    def _write(self, name: str, text: str) -> None:
        stream = self._streams.get(name)
        if stream is None or not text:
            return
        if stream.isatty() and self._moves:
            # the panel and the program share a screen: only whole lines can go above it
            whole, newline, rest = (self._begun.get(name, "") + text).rpartition("\n")
            self._begun[name] = rest
            if newline:
                self._above(whole)
            return
        _plainly(stream, text)

    def _above(self, text: str) -> None:
        errors().print(Text(clean(text)), soft_wrap=True)

    def _lost(self, event: Event) -> None:
        dropped = event.data.get("dropped")
        if isinstance(dropped, int) and dropped:
            errors().print(Text(f"{dropped:,} bytes of output were not kept (worker.output_kb)", style="yellow"))


def _plainly(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
