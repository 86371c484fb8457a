"""The way over HTTP: requests of calls.py, sent again where that does no harm; streams that come back after a break."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from tether.client import calls
from tether.client.calls import Call
from tether.client.server_sent import Lines
from tether.errors import ConfigurationError, Conflict, NotFound, ServerUnavailable, TetherError, ValidationError, WaitTimeout
from tether.lifecycle import FINAL, SETTLED
from tether.task import Answer, Approval, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from tether.client.admission import Admission
    from tether.events import Event
    from tether.store.rows import AttemptState, Page, TaskFilter, WorkerRow

__all__ = ["Http", "back_off_s", "no_decision", "options", "read"]

T = TypeVar("T")
_GOALS = {"settled": SETTLED, "final": FINAL}
_LONGEST_POLL_S = 25.0
_QUIET_S = 45.0  # three missed heartbeats
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0
_LONGEST_ASKED_S = 30.0
_PAGE = 500


def options(base_url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """What httpx needs to reach a server; raises ConfigurationError."""
    parts = urlsplit(base_url)
    if not parts.hostname:
        raise ConfigurationError("base_url", f"{base_url!r} names no host", "write http://host:port")
    if api_key is not None and (not api_key.isascii() or not api_key.isprintable() or " " in api_key):
        raise ConfigurationError("api_key", "is not a key", "pass what `tether keys create` printed")
    headers = {"User-Agent": "tether-client"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    # a proxy of the environment is never meant for this very machine
    trust_env = not _is_loopback(parts.hostname)
    return {"base_url": base_url.rstrip("/"), "headers": headers, "timeout": timeout_s, "trust_env": trust_env}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read(call: Call[T], response: httpx2.Response, base_url: str) -> T:
    """The answer of a call, or the error it stands for."""
    if response.is_success:
        return call.read(response.json())
    try:
        problem = response.json()
    except ValueError:
        problem = None
    raise calls.error_of(response.status_code, problem, base_url, response.headers.get("retry-after", ""))


def back_off_s(tries: int, error: TetherError | None = None, luck: float | None = None) -> float:
    """Seconds to wait before the next try after `tries` failed ones: ever more, no less than the server asks for.

    luck from 0 to 1 spreads many clients of a server that was away.
    """
    wait_s = min(_FIRST_WAIT_S * 2.0**tries, _LONGEST_WAIT_S) * (0.5 + (random.random() if luck is None else luck))
    asked_s = error.retry_after_s if isinstance(error, ServerUnavailable) else 0.0
    return max(wait_s, min(asked_s, _LONGEST_ASKED_S))


def no_decision(task: TaskDocument) -> Conflict:
    """Why there is nothing to decide."""
    reason = f" ({task.reason})" if task.reason and task.reason != task.state else ""
    what = "; resume it" if task.state == "paused" else ""
    return Conflict(f"{task.id} is {task.state}{reason} and waits for no decision{what}")


class Http:
    """Requests to a server. timeout_s bounds one request with its retries, max_retries their number."""

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._client = httpx2.Client(**options(base_url, api_key, timeout_s))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def perform(self, call: Call[T]) -> T:
        """The answer; sent again with back-off where that does no harm."""
        deadline = time.monotonic() + self._timeout_s + call.wait_s
        for tries in range(self._max_retries + 1):
            try:
                return self._once(call)
            except TetherError as error:
                wait_s = back_off_s(tries, error)
                late = time.monotonic() + wait_s > deadline
                if late or tries == self._max_retries or not call.again(error):
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _once(self, call: Call[T]) -> T:
        given: dict[str, Any] = {"params": dict(call.query), "headers": dict(call.headers)}
        if call.body is not None:
            given["json"] = call.body
        try:
            response = self._client.request(call.method, call.path, timeout=self._timeout_s + call.wait_s, **given)
        except httpx2.HTTPError as error:
            raise calls.error_without_answer(self._base_url, error or type(error).__name__) from None
        return read(call, response, self._base_url)

    # --- the requests of a transport

    def submit(self, task: Task, by: str) -> str:
        """Store the task; files of this machine are uploaded first."""
        return self.perform(calls.submit(self._with_uploads(task), by))

    def _with_uploads(self, task: Task) -> Task:
        files = {name: where if where.startswith("upload:") else self._upload(name, where) for name, where in task.files.items()}
        return replace(task, files=files) if files else task

    def _upload(self, name: str, where: str) -> str:
        try:
            data = Path(where).read_bytes()
        except OSError as error:
            raise ValidationError(f"files.{name}", f"{where!r} cannot be read ({error.strerror})", "check the path") from None
        try:
            response = self._client.post("/v1/files", params={"name": Path(name).name}, content=data)
        except httpx2.HTTPError as error:
            raise calls.error_without_answer(self._base_url, error or type(error).__name__) from None
        call: Call[str] = Call(method="POST", path="/v1/files", read=lambda found: f"upload:{found['id']}")
        return read(call, response, self._base_url)

    def admission(self, task: Task) -> Admission:
        """What submit would store."""
        return self.perform(calls.check(task if not task.files else replace(task, files={})))

    def get(self, task_id: str) -> TaskDocument:
        """The whole task."""
        return self.perform(calls.get(task_id))

    def wait(self, task_id: str, until: str, timeout_s: float | None) -> TaskDocument:
        """By long polls; a server that restarts meanwhile is asked again."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        away_since: float | None = None
        while True:
            left = _LONGEST_POLL_S if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                found = self.perform(calls.wait(task_id, until, min(left, _LONGEST_POLL_S)))
            except ServerUnavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > self._timeout_s or left == 0:
                    raise
                time.sleep(_FIRST_WAIT_S)
                continue
            away_since = None
            if found.state in _GOALS[until]:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(task_id, found.state, timeout_s or 0)

    def tasks(self, where: TaskFilter, limit: int, cursor: str | None) -> Page[TaskDocument]:
        """A page of tasks."""
        return self.perform(calls.tasks(where, limit, cursor))

    def events(self, task_id: str, after: int, follow: bool) -> Iterator[Event]:
        """By pages, or as server-sent events that go on where they broke off."""
        if follow:
            yield from self._follow(task_id, after)
            return
        while found := self.perform(calls.events(task_id, after, _PAGE)):
            yield from found
            after = found[-1].seq

    def _follow(self, task_id: str, after: int) -> Iterator[Event]:
        heard = time.monotonic()
        tries = 0
        while True:
            try:
                for event in self._stream(task_id, after):
                    after, heard, tries = event.seq, time.monotonic(), 0
                    yield event
                if self.get(task_id).state in FINAL and not self.perform(calls.events(task_id, after, 1)):
                    return
                heard = time.monotonic()
            except ServerUnavailable:
                if time.monotonic() - heard > self._timeout_s + _QUIET_S:
                    raise
            time.sleep(back_off_s(tries))
            tries += 1

    def _stream(self, task_id: str, after: int) -> Iterator[Event]:
        path, lines = calls.events(task_id, 0, 1).path, Lines()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        try:
            with self._client.stream("GET", path, headers=headers, timeout=_QUIET_S) as response:
                if not response.is_success:
                    response.read()
                    read(calls.get(task_id), response, self._base_url)
                for line in response.iter_lines():
                    yield from lines.feed(line)
        except (httpx2.HTTPError, ValueError) as error:
            raise calls.error_without_answer(self._base_url, error or type(error).__name__) from None

    def approvals(self, limit: int, cursor: str | None) -> Page[Approval]:
        """Open questions to humans."""
        return self.perform(calls.approvals(limit, cursor))

    def attempt_state(self, task_id: str, attempt: int | None) -> AttemptState:
        """Dump and checkpoint of an attempt, the last one by default."""
        number = attempt if attempt is not None else len(self.get(task_id).attempts)
        if number < 1:
            raise NotFound("attempt", f"{task_id}/{number}", "no attempt was made yet")
        return self.perform(calls.attempt_state(task_id, number))

    def workers(self) -> list[WorkerRow]:
        """Workers that are alive."""
        return self.perform(calls.workers())

    def decide(self, name: str, answer: Answer) -> TaskDocument:
        """Decide the approval of that id, or the open one of the task of that id."""
        if name.startswith("appr_"):
            return self.perform(calls.decide(name, answer))
        task = self.get(name)
        if task.approval is None or task.approval.state != "open":
            raise no_decision(task)
        return self.perform(calls.decide(task.approval.id, answer))

    def change(self, verb: str, task_id: str, *, by: str, note: str) -> TaskDocument:
        """pause, resume, cancel, retry or escalate."""
        return self.perform(calls.change(verb, task_id, by, note))

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
        """Change limits or priority."""
        if budget is None and timeouts is None and priority is None and not note:
            raise ValidationError("update", "changes nothing", "give budget, timeouts, priority or a note")
        return self.perform(calls.update(task_id, budget, timeouts, priority, note, by))
