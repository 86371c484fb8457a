"""How the demo speaks: chapters, the commands a user would type, the journal as it grows, and what was promised and kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from tether.cli.event_lines import NOISE, line
from tether.cli.output import clean, one_line, out

if TYPE_CHECKING:
    from tether.cli.demo.stage import Stage
    from tether.client import TaskHandle
    from tether.task import TaskDocument

__all__ = ["Narrator", "StoryFailed"]

_STORY_S = 45.0
_WIDTH = 110
_LEFT_OUT = NOISE | {"task_submitted", "state_dumped", "call_ended", "artifact_saved"}


class StoryFailed(Exception):
    """A story did not end as it must; the text says what was expected and what was found."""


class Narrator:
    """Writes the story on stdout."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def opening(self, stage: Stage) -> None:
        """What is real here and what is not."""
        self._print(Text("Tether demo", style="bold"))
        self._print(
            "Real processes, a real store, real tools, real kills. Only the model is scripted: a program on this machine that"
        )
        self._print("answers from a list, so no key is needed and nothing is spent. With your own model: tether run GOAL.")
        self._print(Text(f"Everything happens in {stage.folder}. Starting a worker and the scripted model …", style="dim"))

    def chapter(self, number: int, title: str, why: str) -> None:
        """The next story."""
        out().print()
        out().print(Rule(Text(f" {number}  {title} ", style="bold"), align="left", style="dim"), width=_WIDTH)
        self._print(Text(why, style="dim"))

    def command(self, text: str) -> None:
        """What a user would type."""
        self._print(Text.assemble(("$ ", "green"), (text, "bold")))

    def tell(self, text: str) -> None:
        """A sentence."""
        self._print(clean(text))

    def quote(self, lines: Iterable[str]) -> None:
        """Lines from the journal or a file."""
        for text in lines:
            self._print(Text(one_line(text, 110), style="magenta"), 5)

    def follow(self, handle: TaskHandle, after: int = 0) -> tuple[TaskDocument, int]:
        """Print the journal until the task is settled; the task, and where the journal was read up to."""
        deadline = time.monotonic() + _STORY_S
        while True:
            task = handle.document()
            after = self.news(handle, after)
            if task.state in ("succeeded", "failed", "cancelled", "paused"):
                return task, after
            if time.monotonic() > deadline:
                raise StoryFailed(f"{task.id} is still {task.state} after {_STORY_S:g} s")
            time.sleep(0.05)

    def news(self, handle: TaskHandle, after: int) -> int:
        """Print what the journal has behind `after`; where it was read up to."""
        for event in handle.events(after=after):
            after = event.seq
            if event.type not in _LEFT_OUT:
                text = line(event)
                text.truncate(_WIDTH, overflow="ellipsis")
                self._print(text, 5)
        return after

    def promise(self, text: str, kept: bool, found: object = "") -> None:
        """A promise, checked; raises StoryFailed when it is not kept."""
        if not kept:
            raise StoryFailed(f"expected: {text}; found: {one_line(str(found), 300)}")
        self._print(Text.assemble(("✓ ", "bold green"), text))

    def failed(self, text: str, stage: Stage) -> None:
        """The story did not end as it must."""
        self._print(Text.assemble(("✗ ", "bold red"), (clean(text), "red")))
        self._print(Text(f"logs of the workers: {stage.folder}/worker-*.log", style="dim"))

    def closing(self, stage: Stage, played: int, failed: list[int]) -> None:
        """Where the journal is, and what to do next."""
        took = time.monotonic() - self._began
        out().print()
        out().print(Rule(style="dim"), width=_WIDTH)
        if failed:
            self._print(Text(f"{len(failed)} of {played} stories did not end as they must: {failed}", style="bold red"))
        else:
            self._print(Text(f"{played} of {played} stories ended as promised, in {took:.0f} s.", style="bold green"))
        self._print("The journal of it all is kept; look around:")
        self.command(f"export TETHER_CONFIG={stage.folder}/tether.toml")
        self.command("tether list")
        self.command("tether show ID          # also: tether events ID, tether state ID --attempt 1")
        self._print("Next, with a model of your own:")
        self.command("tether doctor           # what this machine has, and what to do about the rest")
        self.command("tether init             # a commented tether.toml and an example agent")
        self.command('tether run "Write a haiku about rain into haiku.txt"')

    def _print(self, text: str | Text, indent: int = 3) -> None:
        if out().is_terminal:
            out().print(Padding(text, (0, 0, 0, indent)))
        else:
            out().print(Text(" " * indent).append_text(Text(text) if isinstance(text, str) else text), soft_wrap=True)
