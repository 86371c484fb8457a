"""The document of a task that was stored just now, without reading it back."""

from __future__ import annotations

from tether.lifecycle import State
from tether.messages import Facts, message
from tether.store.ids import made_at_ms
from tether.store.rows import NewTask
from tether.store.taskdocs import actions
from tether.task import TaskDocument, Usage

__all__ = ["fresh_document"]


def fresh_document(task_id: str, new: NewTask) -> TaskDocument:
    """What a read would give until a worker claims it (a test holds the two equal)."""
    task, at_ms = new.task, made_at_ms(task_id)
    start_ms = int(task.start_at.timestamp() * 1000) if task.start_at else 0
    ready_ms = start_ms if start_ms > at_ms else None
    usage = Usage()
    facts = Facts(budget=new.budget, usage=usage, timeouts=new.timeouts, max_attempts=task.max_attempts, ready_at_ms=ready_ms)
    return TaskDocument(
        id=task_id,
        state=str(State.QUEUED),
        reason=None,
        message=message(State.QUEUED, None, facts),
        agent=task.agent,
        agent_version=new.agent_version,
        task_type=task.task_type,
        goal=task.goal,
        input=task.input,
        tags=tuple(task.tags),
        metadata=task.metadata,
        user=task.user,
        tenant=task.tenant,
        priority=task.priority,
        budget=new.budget,
        usage=usage,
        timeouts=new.timeouts,
        attempts=(),
        progress={},
        partial=None,
        result=None,
        artifacts=(),
        approval=None,
        actions=actions(State.QUEUED, None, None),
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        ended_at_ms=None,
    )
