"""Steps that store tests share: a task put in, a worker made known, a lease taken."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from tether.lifecycle import Change, Reason
from tether.store import Store
from tether.store.rows import Claim, Ending, Entry, NewApproval, NewWorker, Reserve, Settle, Written
from tether.task import Budget, Task, Timeouts

_numbers = itertools.count(1)
LONG_S = 600.0


def submitted(store: Store, *, budget: Budget | None = None, timeouts: Timeouts | None = None, **fields: Any) -> str:
    """A queued task's id."""
    task = Task(**{"goal": "Count the stars", **fields})
    return store.submit(task, budget=budget or Budget(), timeouts=timeouts or Timeouts(), by="tester")


def worker(store: Store, *, lease_s: float = LONG_S, agents: tuple[str, ...] = ("autogpt",)) -> str:
    """A registered worker's id."""
    name = f"worker-{next(_numbers)}"
    store.register_worker(
        NewWorker(id=name, host="here", boot_id="boot", pid=4711, start_time=1, slots=4, agents=agents), lease_s=lease_s
    )
    return name


def claimed(store: Store, *, lease_s: float = LONG_S, **fields: Any) -> Claim:
    """A new task, leased to a worker of its own."""
    submitted(store, **fields)
    [claim] = store.claim(worker(store, lease_s=lease_s), [fields.get("agent", "autogpt")], 1)
    return claim


def entry(claim: Claim, **fields: Any) -> Entry:
    """An entry under this lease."""
    return Entry(task_id=claim.task_id, lease_token=claim.lease_token, attempt=claim.attempt, **fields)


def wrote(store: Store, claim: Claim, **fields: Any) -> Written:
    """Journal one entry that must be accepted."""
    [written] = store.journal([entry(claim, **fields)])
    assert written, written
    return written


def ended(
    store: Store,
    claim: Claim,
    change: Change | None,
    reason: Reason | None,
    state: str = "failed",
    *,
    approval: NewApproval | None = None,
    **fields: Any,
) -> Written:
    """End the attempt."""
    return wrote(store, claim, ending=Ending(change=change, reason=reason, attempt_state=state, **fields), approval=approval)


def llm(claim: Claim, call_id: str, *, hold: int = 0, tokens: int = 0, **fields: Any) -> Reserve:
    """A model call to reserve."""
    return Reserve(
        kind="llm",
        task_id=claim.task_id,
        lease_token=claim.lease_token,
        attempt=claim.attempt,
        call_id=call_id,
        name="model-a",
        hold_nanousd=hold,
        hold_tokens=tokens,
        **fields,
    )


def settle(claim: Claim, call_id: str, nanousd: int | None = None, **fields: Any) -> Settle:
    """What a call took."""
    return Settle(task_id=claim.task_id, call_id=call_id, nanousd=nanousd, **fields)


def until(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
    """The first true value of `condition`; fails when it stays false."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it never became true")


def types(store: Store, task_id: str) -> list[str]:
    """Kinds of the task's events, in order; also holds the journal to dense numbers."""
    found = store.events(task_id, limit=10_000)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    return [event.type for event in found]
