"""The way straight to a store: every request is one transaction of tether.store, checked against the configuration first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tether.client.admission import Admission, admit
from tether.client.files import located
from tether.errors import Conflict, StoreTooNew, StoreUnavailable, ValidationError, WaitTimeout
from tether.lifecycle import FINAL, SETTLED
from tether.task import Answer, Approval, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from tether.config import Settings
    from tether.events import Event
    from tether.queue.announcements import Announcements
    from tether.store import Store
    from tether.store.rows import AttemptState, Page, TaskFilter, WorkerRow

__all__ = ["Direct"]

T = TypeVar("T")
_FIRST_WAIT_S = 0.1
_SHORTEST_LOOK_S = 0.05
_LONGEST_LOOK_S = 0.5
_PAGE = 500
_SERVED_S = 2.0
_GOALS = {"settled": SETTLED, "final": FINAL}


class Direct:
    """Requests on a store. timeout_s bounds the retries of safe requests, max_retries their number."""

    def __init__(self, settings: Settings, *, timeout_s: float, max_retries: int) -> None:
        from tether.store import open_store

        self.settings = settings
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.store: Store = open_store(settings.store_url)
        self._announcements: Announcements | None = None
        self._served: frozenset[str] = frozenset()
        self._served_until_s = 0.0

    def close(self) -> None:
        """Close the store."""
        if self._announcements is not None:
            self._announcements.close()
        self.store.close()

    def _announce(self, task_id: str, agent: str, tenant: str, priority: int) -> None:
        """Wake a worker now rather than at its next look; in the background, and whatever the broker does."""
        if not self.settings.queue.url:
            return
        from tether.queue.announcements import Announcements
        from tether.store.rows import Wake

        if self._announcements is None:
            self._announcements = Announcements(self.settings.queue, self.store)
        self._announcements.offer([Wake(task_id=task_id, agent=agent, tenant=tenant, priority=priority)])

    def admission(self, task: Task) -> Admission:
        """The task with its limits, checked; raises ValidationError. A worker that served its agent is believed for 2 s."""
        if time.monotonic() < self._served_until_s:
            ready = admit(task, self.settings, self._served)
            if not ready.warnings:
                return ready
        self._served = frozenset(agent for worker in self.workers() for agent in worker.agents)
        self._served_until_s = time.monotonic() + _SERVED_S
        return admit(task, self.settings, self._served)

    def submit(self, task: Task, by: str) -> str:
        """Store the task; its id."""
        ready = self.admission(located(task))

        def send() -> str:
            return self.store.submit(
                ready.task,
                budget=ready.budget,
                timeouts=ready.timeouts,
                agent_version=ready.agent_version,
                by=by,
                warnings=ready.warnings,
                sealed=self._sealed(task),
            )

        task_id = self._safely(send) if task.idempotency_key else send()
        self._announce(task_id, ready.task.agent, task.tenant, task.priority)
        return task_id

    def _sealed(self, task: Task) -> bytes | None:
        from tether.secrets import Vault

        return Vault.of(self.settings).seal(dict(task.secrets)) if task.secrets else None

    def get(self, task_id: str) -> TaskDocument:
        """The whole task."""
        return self._safely(lambda: self.store.get(task_id))

    def state(self, task_id: str) -> str:
        """Only its state; cheap."""
        found = self._safely(lambda: self.store.states([task_id]))
        return found[task_id][0] if task_id in found else self.get(task_id).state

    def wait(self, task_id: str, until: str, timeout_s: float | None) -> TaskDocument:
        """By looking again and again, at most twice a second."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        look_s = _SHORTEST_LOOK_S
        while True:
            state = self.state(task_id)
            if state in _GOALS[until]:
                return self.get(task_id)
            left = look_s if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(task_id, state, timeout_s or 0)
            time.sleep(min(look_s, left))
            look_s = min(look_s * 1.5, _LONGEST_LOOK_S)

    def tasks(self, where: TaskFilter, limit: int, cursor: str | None) -> Page[TaskDocument]:
        """A page of tasks."""
        return self._safely(lambda: self.store.tasks(where, limit=limit, cursor=cursor))

    def events(self, task_id: str, after: int, follow: bool) -> Iterator[Event]:
        """By pages; when it follows, it looks again at most twice a second."""
        look_s = _SHORTEST_LOOK_S
        while True:
            # the state is read first: events written until then are in the page that follows
            final = not follow or self.state(task_id) in FINAL
            page = self._page(task_id, after)
            yield from page
            if page:
                after = page[-1].seq
                look_s = _SHORTEST_LOOK_S
            elif final:
                return
            else:
                time.sleep(look_s)
                look_s = min(look_s * 1.5, _LONGEST_LOOK_S)

    def _page(self, task_id: str, after: int) -> list[Event]:
        return self._safely(lambda: self.store.events(task_id, after=after, limit=_PAGE))

    def approvals(self, limit: int, cursor: str | None) -> Page[Approval]:
        """Open questions to humans."""
        return self._safely(lambda: self.store.approvals(limit=limit, cursor=cursor))

    def attempt_state(self, task_id: str, attempt: int | None) -> AttemptState:
        """Dump and checkpoint of an attempt."""
        return self._safely(lambda: self.store.attempt_state(task_id, attempt))

    def workers(self) -> list[WorkerRow]:
        """Workers that are alive."""
        return [row for row in self._safely(self.store.workers) if not row.expired]

    def decide(self, name: str, answer: Answer) -> TaskDocument:
        """Decide the approval of that id, or the open one of the task of that id."""
        approval = self._approval(name)
        if answer.add:
            task = self.get(approval.task_id)
            self.settings.budget_for(task.task_type, task.budget.plus(answer.add))
        return self._changed(self.store.decide(approval.id, answer))

    def _changed(self, task: TaskDocument) -> TaskDocument:
        if task.state == "queued":
            self._announce(task.id, task.agent, task.tenant, task.priority)
        return task

    def _approval(self, name: str) -> Approval:
        if name.startswith("appr_"):
            return self._safely(lambda: self.store.approval(name))
        task = self.get(name)
        if task.approval is None or task.approval.state != "open":
            reason = f" ({task.reason})" if task.reason and task.reason != task.state else ""
            what = "; resume it" if task.state == "paused" else ""
            raise Conflict(f"{name} is {task.state}{reason} and waits for no decision{what}")
        return task.approval

    def change(self, verb: str, task_id: str, *, by: str, note: str) -> TaskDocument:
        """pause, resume, cancel, retry or escalate."""
        act: Callable[..., TaskDocument] = getattr(self.store, verb)
        return self._changed(act(task_id, by=by, note=note))

    def update(
        self,
        task_id: str,
        *,
        budget: Budget | Mapping[str, Any] | None,
        timeouts: Timeouts | Mapping[str, Any] | None,
        priority: int | None,
        note: str,
        by: str,
    ) -> TaskDocument:
        """Change limits or priority; raises ValidationError over a ceiling or when nothing is given."""
        if budget is None and timeouts is None and priority is None and not note:
            raise ValidationError("update", "changes nothing", "give budget, timeouts, priority or a note")
        task = self.get(task_id)
        self.settings.budget_for(task.task_type, Budget.of(budget, task.budget))
        self.settings.timeouts_for(task.task_type, Timeouts.of(timeouts, task.timeouts))
        return self.store.update(task_id, budget=budget, timeouts=timeouts, priority=priority, note=note or None, by=by)

    def _safely(self, request: Callable[[], T]) -> T:
        """A request that may be repeated: again with back-off while the store is away."""
        deadline = time.monotonic() + self.timeout_s
        wait_s = _FIRST_WAIT_S
        for _ in range(self.max_retries):
            try:
                return request()
            except StoreTooNew:
                raise
            except StoreUnavailable:
                if time.monotonic() + wait_s > deadline:
                    raise
                time.sleep(wait_s)
                wait_s *= 2
        return request()
