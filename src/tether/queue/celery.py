"""For teams that run Celery already: a Celery task that only wakes Tether.

Use it where Celery decides when something happens (a chain, a chord, an ETA, beat): submit the Tether task, and let Celery's task
`tether.wake(task_id, agent)` announce it. Tether runs it; the Celery worker is free again at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tether.config import QueueSettings
from tether.queue import open_queue

__all__ = ["wake_task"]


@dataclass(frozen=True, kw_only=True)
class _Wake:
    task_id: str
    agent: str
    tenant: str
    priority: int


def wake_task(app: Any, settings: QueueSettings) -> Any:
    """Register `tether.wake` with a Celery app and return it; call it with `.delay(task_id, agent)`."""

    @app.task(name="tether.wake", ignore_result=True)
    def wake(task_id: str, agent: str, tenant: str = "default", priority: int = 0) -> None:
        # One connection for each call: Celery may run tasks in any thread or process. Nothing is lost when it fails.
        queue = open_queue(settings)
        try:
            queue.announce([_Wake(task_id=task_id, agent=agent, tenant=tenant, priority=priority)])
        finally:
            queue.close()

    return wake
