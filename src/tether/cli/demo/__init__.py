"""`tether demo`: five short stories with real processes, store and kills; only the model is scripted, and it says so."""

from __future__ import annotations

from collections.abc import Sequence

from tether.cli import exits
from tether.cli.demo.narrator import Narrator, StoryFailed
from tether.cli.demo.stage import Stage
from tether.cli.demo.stories import STORIES
from tether.errors import TetherError

__all__ = ["play"]


def play(stories: Sequence[int] = ()) -> int:
    """Play the stories (all by default, else those numbers); exit code 1 when one ends otherwise than it should."""
    narrator = Narrator()
    wanted = [n for n in range(1, len(STORIES) + 1) if not stories or n in stories]
    stage = Stage()
    narrator.opening(stage)
    try:
        with stage:
            failed = [n for n in wanted if not _played(n, stage, narrator)]
            narrator.closing(stage, len(wanted), failed)
    except StoryFailed as failure:
        narrator.failed(str(failure), stage)
        return exits.ERROR
    return exits.ERROR if failed else exits.OK


def _played(number: int, stage: Stage, narrator: Narrator) -> bool:
    story = STORIES[number - 1]
    narrator.chapter(number, story.title, story.why)
    try:
        story.play(stage, narrator)
    except StoryFailed as failure:
        narrator.failed(str(failure), stage)
        return False
    except TetherError as error:
        narrator.failed(f"{type(error).__name__}: {error}", stage)
        return False
    return True
