"""What goes into the store and what comes out: frozen rows, integers everywhere (milliseconds, nano-dollars).

The documents of a stored task (TaskDocument, Approval, Attempt, Usage) live in tether.task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar

from tether.errors import TetherError
from tether.events import Event, NewEvent
from tether.lifecycle import Change, Reason
from tether.store.ids import new_id
from tether.task import Approval, Budget, Task, Timeouts, Usage, usd_from_nano

__all__ = [
    "UNSET",
    "Append",
    "AttemptState",
    "Beat",
    "CallKind",
    "Checkpoint",
    "Claim",
    "Counters",
    "Ending",
    "Entry",
    "Expired",
    "Hold",
    "Intent",
    "NewApproval",
    "NewArtifact",
    "NewCheckpoint",
    "NewTask",
    "NewWorker",
    "Page",
    "Park",
    "Refused",
    "Rescued",
    "Reserve",
    "Reserved",
    "Settle",
    "Settled",
    "Started",
    "Tail",
    "TaskFilter",
    "ToolRecord",
    "Unset",
    "WorkerRow",
    "Written",
]

T = TypeVar("T")
CallKind = Literal["llm", "web", "tool", "step", "charge"]


class Unset(Enum):
    """Tells "not given" from "given as null"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A page of a list; next_cursor is None on the last one."""

    data: tuple[T, ...]
    next_cursor: str | None = None


# --- submitting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A task with its limits resolved (task type, configuration, ceilings), on its way into the store."""

    task: Task
    budget: Budget
    timeouts: Timeouts
    agent_version: str | None = None
    by: str = ""
    warnings: tuple[str, ...] = ()


# --- claiming ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The composed state after a step; agent_version is that of the agent which wrote it."""

    number: int
    attempt: int
    step: int
    agent_version: str | None
    state: Any
    created_at_ms: int


@dataclass(frozen=True, kw_only=True)
class ToolRecord:
    """A tool call newer than the checkpoint. outcome: as in tool_ended; outcome_unknown when it never ended."""

    name: str
    outcome: str
    args: Any = None
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Counters:
    """A budget row: what was used, what is held for calls in flight, what is allowed. epoch grows with each change of a limit."""

    llm_calls: int
    max_llm_calls: int
    nanousd: int
    held_nanousd: int
    max_nanousd: int
    tokens: int
    held_tokens: int
    max_tokens: int
    web_requests: int
    max_web_requests: int
    tool_calls: int
    max_tool_calls: int
    steps: int
    max_steps: int
    epoch: int
    web_counting: str = "exact"

    def left(self) -> dict[str, float]:
        """What may still be spent, by budget key (max_usd in dollars); never negative; amounts held count as spent."""
        return {
            "max_llm_calls": max(self.max_llm_calls - self.llm_calls, 0),
            "max_usd": usd_from_nano(max(self.max_nanousd - self.nanousd - self.held_nanousd, 0)),
            "max_web_requests": max(self.max_web_requests - self.web_requests, 0),
            "max_tokens": max(self.max_tokens - self.tokens - self.held_tokens, 0),
            "max_steps": max(self.max_steps - self.steps, 0),
            "max_tool_calls": max(self.max_tool_calls - self.tool_calls, 0),
        }

    def usage(self) -> Usage:
        """The used part, for documents."""
        return Usage(
            llm_calls=self.llm_calls,
            nanousd=self.nanousd,
            held_nanousd=self.held_nanousd,
            tokens=self.tokens,
            web_requests=self.web_requests,
            tool_calls=self.tool_calls,
            steps=self.steps,
            web_counting=self.web_counting,
        )

    def budget(self) -> Budget:
        """The allowed part, for documents."""
        return Budget(
            max_llm_calls=self.max_llm_calls,
            max_usd=usd_from_nano(self.max_nanousd),
            max_web_requests=self.max_web_requests,
            max_tokens=self.max_tokens,
            max_steps=self.max_steps,
            max_tool_calls=self.max_tool_calls,
        )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task leased to a worker, with everything an attempt needs.

    lease_token: compared in every later write. active_s: active seconds of earlier attempts. failures: attempts that counted
    against task.max_attempts. answers: key -> text of answered questions. tools: the agent's call id -> record, newer than the
    checkpoint. reason: why the task was queued again (None at first). approval: the last decided one. last_step: highest step so far.
    """

    task_id: str
    lease_token: str
    attempt: int
    task: Task
    counters: Counters
    timeouts: Timeouts
    agent_version: str | None
    active_s: float
    failures: int
    losses: int
    last_step: int
    checkpoint: Checkpoint | None
    partial: Any
    answers: Mapping[str, str]
    tools: Mapping[str, ToolRecord]
    reason: str | None
    approval: Approval | None
    created_at_ms: int
    claimed_at_ms: int

    @property
    def budget(self) -> Budget:
        """The limits as an object."""
        return self.counters.budget()

    @property
    def workspace_key(self) -> str:
        """Name of the workspace folder: one per task, shared by its attempts."""
        return self.task_id


# --- the journal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Started:
    """What is known once the process tree stands; kept with the attempt."""

    isolation: Mapping[str, str]
    agent_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint to store. base None: `state` is the whole state; base n: `state` is a delta (tether.deltas) on checkpoint n,
    which must be the newest one. number: base + 1, or the last number + 1."""

    number: int
    state: Any
    base: int | None = None
    step: int = 0
    agent_version: str | None = None


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
    """The task pauses but the attempt keeps its process tree and its lease (a call is held at the gateway)."""

    reason: Reason
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended and what becomes of the task.

    change: FINISH | FAIL | REQUEUE | PAUSE | CANCEL | ESCALATE | REJECT, or None for a parked attempt that ends while its task
    stays paused. reason: of the task and of the attempt. attempt_state: succeeded | failed | paused | cancelled.
    consumes_attempt: counts against max_attempts. not_before_delay_s: back-off of a REQUEUE. message: plain words, may be empty.
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a lease holder writes about one task in one go; all of it or nothing.

    Order in the journal: `events`, then the store's own (partial_saved, artifact_saved, checkpoint_saved, approval_asked, task_…).
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


# --- metering ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """Asks for room in a budget before something is spent; `event` is written in the same transaction when it is granted.

    kind: llm | web | tool | step | charge. call_id: unique within the task; a step has none. name: model, host or tool.
    hold_nanousd, hold_tokens: upper bounds. A charge is recorded at once and never refused for its amount (it was spent already).
    final: the one last call that `wrap_up` keeps back.
    """

    kind: CallKind
    task_id: str
    lease_token: str
    attempt: int
    call_id: str = ""
    name: str = ""
    step: int | None = None
    hold_nanousd: int = 0
    hold_tokens: int = 0
    event: NewEvent | None = None
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """The room is there. repeated: this call id was reserved before under the same lease (nothing counted twice).

    over: a budget key that is passed now (charges only), else None.
    """

    call_id: str
    counters: Counters
    repeated: bool = False
    over: str | None = None

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Refused:
    """No room. limit: a budget key, "lease" (stale or closed) or "call_id" (used before); used and allowed in the limit's unit
    (max_usd: nano-dollars, held amounts included). left_nanousd, left_tokens: what a smaller call could still hold."""

    call_id: str
    limit: str
    used: int = 0
    allowed: int = 0
    left_nanousd: int = 0
    left_tokens: int = 0
    counters: Counters | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Settle:
    """What a reserved call really took; `event` is written in the same transaction, whoever holds the lease now.

    nanousd None: settled at the hold. dispatched False: it never left, so its count is given back too.
    """

    task_id: str
    call_id: str
    nanousd: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    outcome: str = "ok"
    status: int | None = None
    name: str | None = None
    context_window: int | None = None
    dispatched: bool = True
    event: NewEvent | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """fresh: settled by this call (False: it was before, or is unknown). over: budget keys that are passed now."""

    call_id: str
    fresh: bool
    counters: Counters | None = None
    over: tuple[str, ...] = ()


# --- leases, intents, waits -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NewWorker:
    """A worker that starts; (host, boot_id, pid, start_time) tell on the same host whether its process still lives."""

    id: str
    host: str
    boot_id: str
    pid: int
    start_time: int
    slots: int
    agents: tuple[str, ...]
    version: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker as stored. state: live | draining | retired | lost; leases: tasks it holds now."""

    id: str
    host: str
    boot_id: str
    pid: int
    start_time: int
    slots: int
    agents: tuple[str, ...]
    version: str
    facts: Mapping[str, Any]
    state: str
    started_at_ms: int
    beat_at_ms: int
    lease_until_ms: int
    leases: int
    expired: bool


@dataclass(frozen=True, kw_only=True)
class Beat:
    """The answer to a heartbeat. alive False: the worker was given up, its leases are gone; it must stop and register anew.

    outage_s: how long the beat before was overdue (0 when on time).
    """

    alive: bool
    lease_until_ms: int = 0
    now_ms: int = 0
    outage_s: float = 0.0

    def __bool__(self) -> bool:
        return self.alive


@dataclass(frozen=True, kw_only=True)
class Rescued:
    """A task taken from a dead worker. state: queued, paused or cancelled now."""

    task_id: str
    attempt: int
    worker_id: str
    lease_token: str
    state: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Expired:
    """A task that waited too long, now failed. waited_for: "worker" | "human"."""

    task_id: str
    waited_for: str


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a client wants of a leased task. kind: pause | cancel | unpark | reject | escalate | update.

    Sent on every poll until the lease holder acts (an ending, an unpark); an update until the attempt ends: compare counters.epoch.
    """

    task_id: str
    lease_token: str
    attempt: int
    kind: str
    by: str = ""
    note: str = ""
    counters: Counters | None = None
    timeouts: Timeouts | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Stops claims or calls of everything that matches all given fields. stop: claims | calls."""

    id: str
    stop: str
    agent: str | None = None
    task_type: str | None = None
    model: str | None = None
    tenant: str | None = None
    note: str = ""
    by: str = ""
    created_at_ms: int = 0


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; None or empty: any. created_from_ms is included, created_to_ms is not."""

    states: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    agent: str | None = None
    task_type: str | None = None
    tag: str | None = None
    user: str | None = None
    tenant: str | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Events of all tasks after a cursor; pass `cursor` to the next call. Order is kept within what one transaction wrote."""

    events: tuple[Event, ...]
    cursor: str


@dataclass(frozen=True, kw_only=True)
class AttemptState:
    """What is known of the inside of an attempt: its last checkpoint and the dump made before a kill."""

    task_id: str
    attempt: int
    checkpoint: Checkpoint | None
    dump: Mapping[str, Any] | None
    dumped_at_ms: int | None
