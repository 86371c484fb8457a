"""What a lease holder writes about a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tether.errors import TetherError
from tether.events import NewEvent
from tether.lifecycle import Change, Reason
from tether.store.ids import new_id

__all__ = [
    "Append",
    "Ending",
    "Entry",
    "NewApproval",
    "NewArtifact",
    "NewCheckpoint",
    "Park",
    "Started",
    "UNSET",
    "Unset",
    "Written",
]


class Unset(Enum):
    """Tells "not given" from "given as null"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, kw_only=True)
class Started:
    """What is known once the process tree stands; kept with the attempt."""

    isolation: Mapping[str, str]
    agent_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint to store. base None: `state` is the whole state; base n: `state` is a delta (tether.deltas) on checkpoint n,
    which must be the newest one. number: base + 1, or the last number + 1. release: of the writer; older ones leave it."""

    number: int
    state: Any
    base: int | None = None
    step: int = 0
    agent_version: str | None = None
    release: int = 0


@dataclass(frozen=True, kw_only=True)
class NewApproval:
    """A question to a human (kind: tether.task.ApprovalKind). details: what was spent, done, asked; key: the agent's own."""

    kind: str
    question: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    key: str | None = None
    id: str = field(default_factory=lambda: new_id("appr"))


@dataclass(frozen=True, kw_only=True)
class NewArtifact:
    """A file of the workspace that was kept at `url`; an artifact of the same name is replaced."""

    name: str
    size_bytes: int
    sha256: str
    url: str
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Park:
    """The task pauses but the attempt keeps its process tree and its lease (a call is held at the gateway).

    hold: as in Ending.
    """

    reason: Reason
    message: str = ""
    hold: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended and what becomes of the task.

    change: FINISH | FAIL | REQUEUE | PAUSE | CANCEL | ESCALATE | REJECT, or None for a parked attempt that ends while its task
    stays paused. reason: of the task and of the attempt. attempt_state: succeeded | failed | paused | cancelled.
    consumes_attempt: counts against max_attempts. not_before_delay_s: back-off of a REQUEUE. message: plain words, may be empty.
    hold: id of the operator's hold that stopped its calls; a task that pauses for it goes on when it is released.
    """

    change: Change | None
    reason: Reason | None
    attempt_state: str
    message: str = ""
    result: Any | Unset = UNSET
    not_before_delay_s: float = 0.0
    consumes_attempt: bool = False
    attempt_reason: Reason | None = None
    by: str = ""
    hold: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a lease holder writes about one task in one go; all of it or nothing.

    Order in the journal: `events`, then the store's own: partial_saved, artifact_saved, checkpoint_saved, approval_asked, task_….
    add_steps, add_tool_calls: seen in traffic, added without a limit check (use reserve() where it can still be refused).
    active_s: seconds to add to the task's active time. approval: asked with park or with an ending that pauses.
    """

    task_id: str
    lease_token: str
    attempt: int
    events: tuple[NewEvent, ...] = ()
    started: Started | None = None
    checkpoint: NewCheckpoint | None = None
    partial: Any | Unset = UNSET
    partial_by: str = "agent"
    progress: Mapping[str, Any] | None = None
    artifacts: tuple[NewArtifact, ...] = ()
    add_steps: int = 0
    add_tool_calls: int = 0
    active_s: float = 0.0
    web_counting: str | None = None
    approval: NewApproval | None = None
    park: Park | None = None
    unpark: bool = False
    ending: Ending | None = None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of an Entry; true when it was written. problem: why it was refused although the lease holds.

    state, reason: of the task now (None when the lease is lost). seq: of the last event.
    """

    ok: bool
    state: str | None = None
    reason: str | None = None
    seq: int = 0
    problem: TetherError | None = None

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, kw_only=True)
class Append:
    """Events without a lease (late dumps from a spool, the gateway's refusals); never changes a state."""

    task_id: str
    events: tuple[NewEvent, ...]
