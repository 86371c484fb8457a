"""Following a task to its end: events as they come, Ctrl-C that leaves or cancels, a worker that is always there."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from tether.cli.output import say
from tether.lifecycle import SETTLED

if TYPE_CHECKING:
    from tether.cli.live import View
    from tether.client import Client
    from tether.events import Event
    from tether.task import TaskDocument

__all__ = ["Detached", "Follower", "Interrupts"]

_LOOK_S = 0.1
_CARE_S = 1.0
_SECOND_CHANCE_S = 2.0


class Detached(Exception):
    """The user left with Ctrl-C; the task goes on."""


class Interrupts:
    """Counts Ctrl-C instead of raising, while the block lasts."""

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _pressed(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        self.count += 1


@dataclass(kw_only=True)
class Follower:
    """Follows one task; seq is where the journal was read up to. care: called about once a second while the task is queued."""

    client: Client
    task_id: str
    by: str
    care: Callable[[], None]
    seq: int = 0

    def until_settled(self, view: View) -> TaskDocument:
        """Show what happens until the task is settled; one Ctrl-C (or a third) raises Detached, two cancel."""
        cancelled = False
        cared = time.monotonic()
        with Interrupts() as interrupts, view:
            while True:
                task = self.client.get(self.task_id)
                view.show(self._news(), task)
                if task.state in SETTLED:
                    return task
                if interrupts.count and not cancelled:
                    self._leave_or_cancel(interrupts)
                    cancelled = True
                elif interrupts.count > 2:
                    raise Detached
                if task.state == "queued" and time.monotonic() - cared > _CARE_S:
                    self.care()
                    cared = time.monotonic()
                time.sleep(_LOOK_S)

    def _news(self) -> list[Event]:
        # up to the state read just before: what is written later belongs to the next look
        found = list(self.client.events(self.task_id, after=self.seq))
        if found:
            self.seq = found[-1].seq
        return found

    def _leave_or_cancel(self, interrupts: Interrupts) -> None:
        say(f"{self.task_id} goes on without you; come back with `tether wait {self.task_id}`", "yellow")
        say(f"press Ctrl-C again within {_SECOND_CHANCE_S:g} s to cancel it", "yellow")
        deadline = time.monotonic() + _SECOND_CHANCE_S
        while interrupts.count < 2:
            if time.monotonic() > deadline:
                raise Detached
            time.sleep(0.05)
        say(f"cancelling {self.task_id} …", "yellow")
        self.client.cancel(self.task_id, by=self.by)
