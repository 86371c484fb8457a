"""A row of `tasks` while a transaction holds it locked: read, changed in memory, written once at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Select, select

from tether.lifecycle import State
from tether.store.tables import tasks
from tether.task import Timeouts

__all__ = ["TaskRow", "select_tasks", "standing"]


@dataclass(slots=True)
class TaskRow:
    """The columns of `tasks`, in the order of the table. Change them with `put`, so that they are written."""

    id: str
    tenant: str
    user: str | None
    agent: str
    task_type: str
    state: str
    reason: str | None
    message: str
    note: str
    priority: int
    revision: int
    created_at_ms: int
    updated_at_ms: int
    ended_at_ms: int | None
    since_ms: int
    ready_ms: int | None
    wait_until_ms: int | None
    wake: int
    last_seq: int
    attempt: int
    lease_token: str | None
    worker_id: str | None
    parked: int
    wants: str
    claimed_epoch: int
    agent_version: str | None
    max_attempts: int
    failures: int
    losses: int
    losses_at: int
    active_ms: int
    checkpoint: int
    checkpoint_base: int
    timeouts: str
    idempotency_key: str | None
    idempotency_hash: str | None
    needs: int
    changed: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, row: Row[Any]) -> TaskRow:
        """From a row of select_tasks(), which may have more columns after these."""
        return cls(*row[: len(tasks.c)])

    def put(self, **values: Any) -> None:
        """Set columns and remember to write them."""
        for name, value in values.items():
            setattr(self, name, value)
        self.changed.update(values)

    def limits(self) -> Timeouts:
        """The timeouts as an object."""
        return Timeouts(**json.loads(self.timeouts))

    def wanted(self) -> dict[str, dict[str, str]]:
        """Open intents of clients: kind -> {by, note}."""
        return json.loads(self.wants) if self.wants else {}

    def want(self, kind: str, by: str = "", note: str = "") -> None:
        """Add an intent for the lease holder."""
        self.put(wants=json.dumps({**self.wanted(), kind: {"by": by, "note": note}}))

    def standing(self) -> tuple[str, str | None]:
        """State and reason as clients see them: a decision on a parked task counts at once, its worker follows in a moment."""
        return standing(self.state, self.reason, self.parked, self.wants)

    def unwant(self, *kinds: str) -> None:
        """Take intents back; without kinds, all."""
        wanted = self.wanted()
        left = {kind: value for kind, value in wanted.items() if kinds and kind not in kinds}
        if left != wanted:
            self.put(wants=json.dumps(left) if left else "")


def standing(state: str, reason: str | None, parked: int, wants: str) -> tuple[str, str | None]:
    """See TaskRow.standing; for rows of which only these columns were read."""
    decided = parked and wants and not {"unpark", "reject"}.isdisjoint(json.loads(wants))
    return (str(State.RUNNING), None) if decided else (state, reason)


def select_tasks() -> Select[*tuple[Any, ...]]:
    """All columns, in the order of TaskRow."""
    return select(*tasks.c)
