"""Workers, waits, wishes and holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tether.store.rows.metered import Counters
from tether.task import Timeouts

__all__ = ["Beat", "Expired", "Hold", "Intent", "NewWorker", "Rescued", "Wake", "WorkerRow"]


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
class Wake:
    """A queued task to be announced to the broker."""

    task_id: str
    agent: str
    tenant: str
    priority: int


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

    Sent on every poll until the lease holder acts (an ending, an unpark); an update until the attempt ends: compare
    counters.epoch.
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
