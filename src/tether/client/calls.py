"""Every request to a server as data: what to send, whether it may be sent again, how to read the answer. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tether import errors
from tether.client import documents
from tether.errors import TetherError, ValidationError
from tether.task import Answer, Approval, AutoGPTTask, Budget, Task, TaskDocument, Timeouts

if TYPE_CHECKING:
    from tether.client.admission import Admission
    from tether.events import Event
    from tether.store.rows import AttemptState, Page, TaskFilter, WorkerRow

__all__ = ["Call", "error_of", "error_without_answer"]

T = TypeVar("T")
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NO_DOCUMENT = "the server {base} answered {status}"


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request. safe: sending it twice does no harm. wait_s: how long the server itself may take beyond the usual."""

    method: str
    path: str
    read: Callable[[Any], T]
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    safe: bool = False
    wait_s: float = 0.0

    def again(self, error: TetherError) -> bool:
        """Whether to send it once more after this error."""
        if isinstance(error, errors.ServerUnavailable):
            return self.safe or error.status == 429
        return self.safe and error.code == "in_flight"


def error_of(status: int, problem: Any, base: str, retry_after: str = "") -> TetherError:
    """The error that a problem document stands for; retry_after: the header, which we always send as seconds."""
    wait_s = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else 0.0
    if status in _BUSY and not (isinstance(problem, dict) and "code" in problem):
        return errors.ServerUnavailable(_NO_DOCUMENT.format(base=base, status=status), status, wait_s)
    if not isinstance(problem, dict) or "code" not in problem:
        return TetherError(_NO_DOCUMENT.format(base=base, status=status))
    code, detail = str(problem["code"]), str(problem.get("detail", ""))
    if status in _BUSY:
        return errors.ServerUnavailable(f"{detail} (server {base})", status, wait_s)
    return _KNOWN.get(code, _other)(code, detail, problem)


def error_without_answer(base: str, why: object) -> errors.ServerUnavailable:
    """The server could not be reached or did not answer."""
    return errors.ServerUnavailable(f"the server {base} does not answer ({why}); is `tether up` or `tether api` running there?")


def _other(code: str, detail: str, _problem: Mapping[str, Any]) -> TetherError:
    found = TetherError(detail)
    found.code = code
    return found


def _plain(kind: type[TetherError]) -> Callable[[str, str, Mapping[str, Any]], TetherError]:
    def make(code: str, detail: str, _problem: Mapping[str, Any]) -> TetherError:
        made = kind(detail)
        made.code = code
        return made

    return make


def _of(kind: type[TetherError], *names: str) -> Callable[[str, str, Mapping[str, Any]], TetherError]:
    """An error with fields, told by members of the problem; its text stays the server's."""

    def make(code: str, detail: str, problem: Mapping[str, Any]) -> TetherError:
        made = kind.__new__(kind)
        Exception.__init__(made, detail)
        made.code = code
        for name in names:
            setattr(made, name, problem.get(name, ""))
        return made

    return make


_KNOWN: dict[str, Callable[[str, str, Mapping[str, Any]], TetherError]] = {
    "invalid": _of(ValidationError, "field", "problem", "remedy"),
    "malformed": _of(ValidationError, "field", "problem", "remedy"),
    "too_large": _of(ValidationError, "field", "problem", "remedy"),
    "not_found": _of(errors.NotFound, "what", "name"),
    "conflict": _plain(errors.Conflict),
    "illegal_transition": _of(errors.IllegalTransition, "state", "change", "reason"),
    "idempotency_conflict": _of(errors.IdempotencyConflict, "key", "task_id"),
    "revision_conflict": _plain(errors.RevisionConflict),
    "not_authorised": _plain(errors.NotAuthorised),
    "not_authenticated": _plain(errors.NotAuthorised),
}


# --- the requests


def _get(path: str, read: Callable[[Any], T], **query: Any) -> Call[T]:
    return Call(method="GET", path=path, read=read, query=_given(query), safe=True)


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value not in (None, (), "", [])}


def _body(task: Task, by: str) -> dict[str, Any]:
    body = task.document() | ({"secrets": dict(task.secrets)} if task.secrets else {}) | ({"by": by} if by else {})
    if isinstance(task, AutoGPTTask):
        body["agent"] = "autogpt"
    if body.get("tenant", "default") == "default":
        body.pop("tenant", None)
    return body


def submit(task: Task, by: str) -> Call[str]:
    """With a key of its own when the task has none, so that it may be sent again."""
    headers = {} if task.idempotency_key else {"Idempotency-Key": uuid.uuid4().hex}
    return Call(method="POST", path="/v1/tasks", body=_body(task, by), headers=headers, safe=True, read=lambda found: found["id"])


def check(task: Task) -> Call[Admission]:
    """What submit would store."""
    query = {"dry_run": "true"}
    return Call(method="POST", path="/v1/tasks", query=query, body=_body(task, ""), safe=True, read=documents.admission)


def get(task_id: str) -> Call[TaskDocument]:
    """The whole task."""
    return _get(f"/v1/tasks/{_name(task_id)}", documents.task)


def wait(task_id: str, until: str, seconds: float) -> Call[TaskDocument]:
    """The task once it is settled or final, or as it stands after so many seconds."""
    found = get(task_id)
    query = {"wait_for": until, "timeout": f"{seconds:.3f}"}
    return Call(method="GET", path=found.path, read=found.read, query=query, safe=True, wait_s=seconds)


def tasks(where: TaskFilter, limit: int, cursor: str | None) -> Call[Page[TaskDocument]]:
    """A page of tasks."""
    given = asdict(where)
    query = {name: given[name] for name in ("agent", "task_type", "tag", "user", "tenant")}
    query |= {"state": where.states, "reason": where.reasons, "limit": min(limit, 200), "cursor": cursor}
    for name in ("created_from", "created_to"):
        at = given[f"{name}_ms"]
        query[name] = None if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat()
    return _get("/v1/tasks", lambda found: documents.page(found, documents.task), **query)


def events(task_id: str, after: int, limit: int) -> Call[list[Event]]:
    """A page of the journal."""
    path = f"/v1/tasks/{_name(task_id)}/events"
    return _get(path, lambda found: [documents.event(item) for item in found["data"]], after=after, limit=limit)


def approvals(limit: int, cursor: str | None) -> Call[Page[Approval]]:
    """Open questions to humans."""
    return _get("/v1/approvals", lambda found: documents.page(found, documents.approval), limit=min(limit, 200), cursor=cursor)


def attempt_state(task_id: str, attempt: int) -> Call[AttemptState]:
    """Dump and checkpoint of an attempt."""
    return _get(f"/v1/tasks/{_name(task_id)}/attempts/{attempt}/state", documents.attempt_state)


def workers() -> Call[list[WorkerRow]]:
    """Workers that are alive."""
    return _get("/v1/workers", lambda found: [documents.worker(item) for item in found["data"]])


def decide(approval_id: str, answer: Answer) -> Call[TaskDocument]:
    """Decide an approval."""
    body = {"decision": answer.decision, "add": dict(answer.add), "text": answer.text, "comment": answer.comment, "by": answer.by}
    return _post(f"/v1/approvals/{_name(approval_id)}/decision", body)


def change(verb: str, task_id: str, by: str, note: str) -> Call[TaskDocument]:
    """pause, resume, cancel, retry or escalate."""
    return _post(f"/v1/tasks/{_name(task_id)}/{verb}", {"by": by, "note": note})


def update(
    task_id: str,
    budget: Budget | Mapping[str, Any] | None,
    timeouts: Timeouts | Mapping[str, Any] | None,
    priority: int | None,
    note: str,
    by: str,
) -> Call[TaskDocument]:
    """Change limits, priority or note."""
    body: dict[str, Any] = {"priority": priority, "note": note or None, "by": by}
    for name, value in (("budget", budget), ("timeouts", timeouts)):
        body[name] = value.document() if isinstance(value, Budget | Timeouts) else None if value is None else dict(value)
    path = f"/v1/tasks/{_name(task_id)}"
    return Call(method="PATCH", path=path, body={k: v for k, v in body.items() if v is not None}, read=documents.task)


def _post(path: str, body: Mapping[str, Any]) -> Call[TaskDocument]:
    return Call(method="POST", path=path, body=body, read=documents.task)


def _name(text: str) -> str:
    """An id as a part of a path."""
    from urllib.parse import quote

    return quote(text, safe="") or "-"
