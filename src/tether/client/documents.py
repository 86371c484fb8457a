"""What the server's JSON becomes: the same objects that a store gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tether.client.admission import Admission
from tether.events import Event
from tether.task import Approval, Attempt, Budget, Task, TaskDocument, Timeouts, Usage, nano_from_usd

if TYPE_CHECKING:
    from tether.store.rows import AttemptState, Page, WorkerRow

__all__ = ["admission", "approval", "attempt_state", "event", "page", "task", "worker"]

T = TypeVar("T")
Document = Mapping[str, Any]


def _ms(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def _ms_sure(text: str) -> int:
    return _ms(text) or 0


def page(found: Document, read: Callable[[Document], T]) -> Page[T]:
    """A page of a list."""
    from tether.store.rows import Page

    return Page(data=tuple(read(item) for item in found["data"]), next_cursor=found["next_cursor"])


def task(found: Document) -> TaskDocument:
    """A task; fields a newer server adds are left out."""
    times = {f"{name}_ms": _ms(found[name]) for name in ("updated_at", "ended_at")}
    rest = {name: found[name] for name in TaskDocument.__dataclass_fields__ if name in found}
    usage = dict(found["usage"])
    values: dict[str, Any] = rest | times
    values |= {
        "created_at_ms": _ms(found["created_at"]),
        "tags": tuple(found["tags"]),
        "budget": Budget.of(found["budget"]),
        "timeouts": Timeouts.of(found["timeouts"]),
        "usage": Usage(nanousd=nano_from_usd(usage.pop("usd")), **usage),
        "attempts": tuple(_attempt(item) for item in found["attempts"]),
        "artifacts": tuple(found["artifacts"]),
        "approval": None if found["approval"] is None else approval(found["approval"]),
        "actions": tuple(found["actions"]),
    }
    return TaskDocument(**values)


def _attempt(found: Document) -> Attempt:
    return Attempt(
        number=found["number"],
        state=found["state"],
        reason=found["reason"],
        worker=found["worker"],
        isolation=found["isolation"],
        started_at_ms=_ms_sure(found["started_at"]),
        ended_at_ms=_ms(found["ended_at"]),
        message=found["message"],
    )


def approval(found: Document) -> Approval:
    """A question to a human."""
    return Approval(
        id=found["id"],
        task_id=found["task_id"],
        kind=found["kind"],
        question=found["question"],
        state=found["state"],
        details=found["details"],
        decision=found["decision"],
        created_at_ms=_ms_sure(found["created_at"]),
        expires_at_ms=_ms(found["expires_at"]),
        decided_at_ms=_ms(found["decided_at"]),
        decided_by=found["decided_by"],
    )


def event(found: Document) -> Event:
    """One row of a journal."""
    return Event(
        task_id=found["task_id"],
        seq=found["seq"],
        attempt=found["attempt"],
        step=found["step"],
        type=found["type"],
        at_ms=_ms_sure(found["at"]),
        data=found["data"],
    )


def attempt_state(found: Document) -> AttemptState:
    """The inside of an attempt."""
    from tether.store.rows import AttemptState, Checkpoint

    kept = found["checkpoint"]
    checkpoint = kept and Checkpoint(
        number=kept["number"],
        attempt=kept["attempt"],
        step=kept["step"],
        agent_version=kept["agent_version"],
        state=kept["state"],
        created_at_ms=_ms_sure(kept["created_at"]),
    )
    return AttemptState(
        task_id=found["task_id"],
        attempt=found["attempt"],
        checkpoint=checkpoint,
        dump=found["dump"],
        dumped_at_ms=_ms(found["dumped_at"]),
    )


def worker(found: Document) -> WorkerRow:
    """A live worker; what only its own host can use is left empty."""
    from tether.store.rows import WorkerRow

    beat = _ms_sure(found["beat_at"])
    models = found.get("models")
    return WorkerRow(
        id=found["id"],
        host=found["host"],
        boot_id="",
        pid=0,
        start_time=0,
        slots=found["slots"],
        agents=tuple(found["agents"]),
        version=found["version"],
        facts={} if models is None else {"models": models},
        state=found["state"],
        started_at_ms=_ms_sure(found["started_at"]),
        beat_at_ms=beat,
        lease_until_ms=beat,
        leases=found["leases"],
        expired=False,
    )


def admission(found: Document) -> Admission:
    """What a submission would store."""
    return Admission(
        task=Task.of(found["task"]),
        budget=Budget.of(found["budget"]),
        timeouts=Timeouts.of(found["timeouts"]),
        agent_version=found["agent_version"],
        warnings=tuple(found["warnings"]),
    )
