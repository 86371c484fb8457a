"""What a worker gets with a lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tether.store.rows.metered import Counters
from tether.task import Approval, Budget, Task, Timeouts

__all__ = ["Checkpoint", "Claim", "NewTask", "ToolRecord"]


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A task with its limits resolved (task type, configuration, ceilings), on its way into the store; sealed: its secrets."""

    task: Task
    budget: Budget
    timeouts: Timeouts
    agent_version: str | None = None
    by: str = ""
    warnings: tuple[str, ...] = ()
    sealed: bytes | None = None


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
class Claim:
    """A task leased to a worker, with everything an attempt needs.

    lease_token: compared in every later write. active_s: active seconds of earlier attempts. failures: attempts that counted
    against task.max_attempts. answers: key -> text of answered questions. tools: the agent's call id -> record, newer than the
    checkpoint. reason: why the task was queued again (None at first). approval: the last decided one. last_step: steps so far.
    sealed: the task's secrets (tether.secrets.Vault).
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
    sealed: bytes | None = None

    @property
    def budget(self) -> Budget:
        """The limits as an object."""
        return self.counters.budget()

    @property
    def workspace_key(self) -> str:
        """Name of the workspace folder: one per task, shared by its attempts."""
        return self.task_id
