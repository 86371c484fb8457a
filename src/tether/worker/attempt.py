"""One live attempt as the supervisor sees it: its lease, its channels, its clocks, what is in flight, and what it wrote."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tether.config import AgentSettings
from tether.events import NewEvent
from tether.lifecycle import Reason
from tether.store.rows import Claim, Entry, Written
from tether.worker.channel import Channel
from tether.worker.clocks import Clocks
from tether.worker.loop import Timer
from tether.worker.outcome import Outcome
from tether.worker.output import Captured, Pipe

__all__ = ["MOST_PARKINGS", "LiveAttempt", "Phase", "ToolInFlight"]

MOST_PARKINGS = 10  # of one attempt: the kernel's own timer, which cannot be stopped, leaves room for as many


class Phase(StrEnum):
    """Where an attempt stands inside its supervisor."""

    STARTING = "starting"
    LIVE = "live"
    ENDING = "ending"
    GONE = "gone"


@dataclass(kw_only=True)
class ToolInFlight:
    """A tool call that runs in a process of its own. outcome: set once it is known, while its end is being journaled."""

    call_id: str
    tool_id: str
    name: str
    args: Any
    timeout_s: float
    started_s: float
    result: Channel | None = None
    outcome: str | None = None
    grace: Timer | None = None


class LiveAttempt:
    """The state of one attempt; behaviour lives in conversation (Link), tool_calls, ending and supervisor."""

    def __init__(self, claim: Claim, agent: AgentSettings, clocks: Clocks, *, keep_bytes: int, journal_bytes: int) -> None:
        self.claim = claim
        self.agent = agent
        self.clocks = clocks
        self.key = f"{claim.task_id}/{claim.attempt}"
        self.token = "tth_" + secrets.token_urlsafe(24)
        self.phase = Phase.STARTING
        self.link: Channel | None = None
        self.ctl: Channel | None = None
        self.pipes: dict[str, Pipe] = {}
        self.captured = {
            "stdout": Captured(keep_bytes, journal_bytes),
            "stderr": Captured(keep_bytes, journal_bytes),
            "stacks": Captured(65_536, 0),
            "astacks": Captured(65_536, 0),
        }
        self.listeners: dict[str, socket.socket] = {}
        self.init_pid: int | None = None
        self.pidfd: int | None = None
        self.agent_status: int | None = None
        self.agent_gone = False
        self.walls: dict[str, str] = {}
        self.tools: dict[str, ToolInFlight] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.counters = claim.counters
        self.step = claim.last_step
        self.step_open = False
        self.step_inferred = False
        self.tells_steps = agent.kind == "builtin"
        self.tells_tools = agent.kind == "builtin"
        self.checkpoint = claim.checkpoint.number if claim.checkpoint else None
        self.messages: int | None = None
        self.steps_used = claim.counters.steps
        self.tool_calls_used = claim.counters.tool_calls
        self.thought = ""
        self.plan: list[str] = []
        self.tool_counts: Counter[str] = Counter()
        self.partial = claim.partial
        self.nudge: str | None = None
        self.stop_wanted: Outcome | None = None
        self.repaired = False
        self.parked = False
        self.parkings = 0
        self.replays = False
        self.warned: set[str] = set()
        self.web_counting = claim.counters.web_counting
        self.unacknowledged = 0
        self.timer: Timer | None = None
        self.prepare_timer: Timer | None = None
        self.stop_timer: Timer | None = None

    @property
    def is_live(self) -> bool:
        """Whether it may still do things."""
        return self.phase in (Phase.STARTING, Phase.LIVE)

    @property
    def can_checkpoint(self) -> bool:
        """Whether it loses nothing when it is ended: it is ours, or it has saved its state before."""
        return self.agent.kind == "builtin" or self.checkpoint is not None

    @property
    def may_wait(self) -> bool:
        """Whether its calls may be held instead of refused."""
        willing = self.is_live and self.stop_wanted is None and self.agent.park_s > 0 and self.parkings < MOST_PARKINGS
        return willing and not self.can_checkpoint

    @property
    def may_park(self) -> bool:
        """Whether its calls over budget are held instead of refused."""
        return self.may_wait and self.claim.task.on_budget_exceeded == "checkpoint_and_pause"

    @property
    def wraps_up(self) -> bool:
        """Whether its budget is used up and it is to make a partial answer of what there is."""
        over = self.stop_wanted is not None and self.stop_wanted.reason is Reason.BUDGET
        return over and self.claim.task.on_budget_exceeded == "wrap_up"

    def event(self, kind: str, /, **data: Any) -> NewEvent:
        """An event of this attempt and its current step."""
        return NewEvent(type=kind, attempt=self.claim.attempt, step=self.step or None, data=data)

    def entry(self, *events: NewEvent, **parts: Any) -> Entry:
        """A journal entry under this attempt's lease."""
        claim = self.claim
        return Entry(task_id=claim.task_id, lease_token=claim.lease_token, attempt=claim.attempt, events=events, **parts)

    def budget_left(self) -> dict[str, float]:
        """What may still be spent, by budget key, as far as the supervisor knows."""
        left = self.counters.left()
        left["max_steps"] = max(self.counters.max_steps - self.steps_used, 0)
        left["max_tool_calls"] = max(self.counters.max_tool_calls - self.tool_calls_used, 0)
        return left

    def usage(self) -> Mapping[str, Any]:
        """Spend so far, for dumps and approvals."""
        return self.counters.usage().document() | {"steps": self.steps_used, "tool_calls": self.tool_calls_used}

    def release(self) -> None:
        """Close every descriptor; called once, when the process tree is gone."""
        for channel in (self.link, self.ctl, *(tool.result for tool in self.tools.values())):
            if channel is not None:
                channel.close()
        for pipe in self.pipes.values():
            pipe.read()
            pipe.close()
        for listener in self.listeners.values():
            listener.close()
        if self.pidfd is not None:
            with contextlib.suppress(OSError):
                os.close(self.pidfd)
        self.link = self.ctl = self.pidfd = None
        self.tools, self.listeners = {}, {}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why the journal did not take an entry, for the agent's ears."""

    reason: str
    message: str

    @staticmethod
    def of(written: Written) -> Refusal:
        """The refusal of a write that is not ok."""
        if written.problem is not None:
            return Refusal(reason=written.problem.code, message=str(written.problem))
        return Refusal(reason="ending", message="the lease is gone; this attempt ends")
