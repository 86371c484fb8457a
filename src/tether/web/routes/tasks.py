"""/v1/tasks: submit, list, read, change, erase."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from tether.client.admission import Admission, admit
from tether.errors import NotAuthorised, NotFound, ValidationError
from tether.lifecycle import SETTLED, Reason, State
from tether.store.rows import NewTask, Page, TaskFilter
from tether.task import AutoGPTTask, Budget, Task, TaskDocument, Timeouts
from tether.web.access import Caller, may
from tether.web.answers import Cursor, Limit, document, documents, problems
from tether.web.bodies import StrictRoute
from tether.web.retention import erase_files
from tether.web.schemas.documents import ListOf, TaskOut
from tether.web.schemas.tasks import Checked, Name, TaskChange, TaskIn, When
from tether.web.service import Service, service_of
from tether.web.waiting import LONGEST_S, preferred_wait, wait_for

__all__ = ["accept", "accepted", "filtered", "router"]

router = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=StrictRoute)
Key = Annotated[str | None, Header(pattern=r"^[\x21-\x7e]{1,255}$", description="makes a repeated request harmless")]
Prefer = Annotated[str, Header(max_length=200, description="wait=N: wait up to N seconds (at most 60) for the task to settle")]
IfMatch = Annotated[str, Header(pattern=r'^(?:"[0-9]{1,18}"|\*)?$', description="the ETag of the task as it was read")]
_UPLOAD = "upload:"
_SUBMITTED: dict[int | str, dict[str, Any]] = {
    200: {"model": TaskOut | Checked, "description": "It settled while waiting (Prefer), or with dry_run what would be stored"},
    202: {"model": TaskOut, "description": "Accepted and durable; follow Location"},
}


@router.post("", status_code=202, responses=_SUBMITTED | problems(408, 409, 413, 415), summary="Submit a task")
async def submit(
    request: Request,
    body: TaskIn,
    caller: Annotated[Caller, Depends(may("submit"))],
    idempotency_key: Key = None,
    prefer: Prefer = "",
    dry_run: Annotated[bool, Query(description="only check it, and answer what would be stored")] = False,
) -> Response:
    """Store a goal with its limits as a queued task. With an Idempotency-Key the same request again gives the same task."""
    service = service_of(request)
    if dry_run:
        return document(_checked(await _admission(service, _task(body, caller, idempotency_key), caller)))
    stored, replayed = await accept(service, body, caller, idempotency_key)
    wait_s = preferred_wait(prefer)
    if wait_s is None:
        return accepted(stored, replayed)
    await wait_for(service, stored.id, "settled", wait_s)
    stored = await service.call(service.store.get, stored.id)
    return accepted(stored, replayed, wait_s)


async def accept(service: Service, body: TaskIn, caller: Caller, idempotency_key: str | None) -> tuple[TaskDocument, bool]:
    """The stored task, and whether its key was known before; a worker is woken."""
    task = _task(body, caller, idempotency_key)
    ready = await _admission(service, task, caller)
    with service.submissions.keyed(task):
        known = task.idempotency_key and await service.call(service.store.keyed, task.tenant, task.idempotency_key)
        stored = await service.submissions.submit(await _sealed(service, ready, caller.actor(body.by)))
    return service.announce(stored), bool(known)


def accepted(stored: TaskDocument, replayed: bool, waited_s: float | None = None) -> Response:
    """The answer to a submission; waited_s: how long was waited for it to settle."""
    headers = {"Location": f"/v1/tasks/{stored.id}"} | ({"Idempotent-Replayed": "true"} if replayed else {})
    if waited_s is None:
        return document(stored.document(), 202, headers)
    headers["Preference-Applied"] = f"wait={waited_s:g}"
    return document(stored.document(), 200 if stored.state in SETTLED else 202, headers)


def _task(body: TaskIn, caller: Caller, idempotency_key: str | None) -> Task:
    given = body.model_dump(exclude_none=True, exclude={"by"})
    given.setdefault("tenant", caller.tenant)
    if caller.sees is not None and given["tenant"] != caller.tenant:
        raise NotAuthorised(f"this key belongs to tenant {caller.tenant!r}; leave tenant out")
    if idempotency_key is not None and given.setdefault("idempotency_key", idempotency_key) != idempotency_key:
        raise ValidationError("idempotency_key", "is not the one of the header", "send it once")
    return AutoGPTTask.of(given) if given.get("agent") == "autogpt" else Task.of(given)


async def _admission(service: Service, task: Task, caller: Caller) -> Admission:
    ready = admit(task, service.settings, await service.served())
    for name, source in task.files.items():
        if not source.startswith(_UPLOAD):
            raise ValidationError(f"files.{name}", "is not an upload", "POST it to /v1/files and give upload:ID")
        await service.call(service.store.upload, source.removeprefix(_UPLOAD), tenant=caller.sees)
    return ready


async def _sealed(service: Service, ready: Admission, by: str) -> NewTask:
    secrets = dict(ready.task.secrets)
    return NewTask(
        task=ready.task,
        budget=ready.budget,
        timeouts=ready.timeouts,
        agent_version=ready.agent_version,
        by=by,
        warnings=ready.warnings,
        sealed=await service.call(service.vault.seal, secrets) if secrets else None,
    )


def _checked(ready: Admission) -> dict[str, Any]:
    found = Checked(
        task=ready.task.document(),
        budget=ready.budget.document(),
        timeouts=ready.timeouts.document(),
        agent_version=ready.agent_version,
        warnings=list(ready.warnings),
    )
    return found.model_dump()


async def filtered(
    caller: Annotated[Caller, Depends(may("read"))],
    state: Annotated[list[State], Query(max_length=6)] = [],  # noqa: B006 - FastAPI copies it
    reason: Annotated[list[Reason], Query(max_length=30)] = [],  # noqa: B006
    agent: Annotated[Name | None, Query()] = None,
    task_type: Annotated[Name | None, Query()] = None,
    tag: Annotated[str | None, Query(max_length=200)] = None,
    user: Annotated[str | None, Query(max_length=2000)] = None,
    tenant: Annotated[Name | None, Query(description="only with tenants:any")] = None,
    created_from: Annotated[When | None, Query(description="with a time zone; included")] = None,
    created_to: Annotated[When | None, Query(description="with a time zone; not included")] = None,
) -> TaskFilter:
    """The filters of a list of tasks; never wider than the caller may see."""
    if caller.sees is not None and tenant not in (None, caller.tenant):
        raise NotFound("tenant", tenant or "")
    return TaskFilter(
        states=tuple(map(str, state)),
        reasons=tuple(map(str, reason)),
        agent=agent,
        task_type=task_type,
        tag=tag,
        user=user,
        tenant=tenant if caller.sees is None else caller.tenant,
        created_from_ms=_ms(created_from, "created_from"),
        created_to_ms=_ms(created_to, "created_to"),
    )


def _ms(at: datetime | None, name: str) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValidationError(name, "has no time zone", "write 2026-01-31T12:00:00Z")
    return max(int(at.timestamp() * 1000), 0)


@router.get("", response_model=ListOf[TaskOut], responses=problems(), summary="List tasks")
async def listed(
    request: Request, where: Annotated[TaskFilter, Depends(filtered)], limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Tasks, newest first."""
    service = service_of(request)
    page: Page[TaskDocument] = await service.call(service.store.tasks, where, limit=limit, cursor=cursor)
    return documents(page)


@router.get("/{task_id}", response_model=TaskOut, responses=problems(), summary="Read a task, or wait for it")
async def one(
    request: Request,
    task_id: str,
    caller: Annotated[Caller, Depends(may("read"))],
    wait_for_: Annotated[str | None, Query(alias="wait_for", pattern="^(settled|final)$")] = None,
    timeout: Annotated[float, Query(ge=0, le=LONGEST_S, description="seconds to wait at most")] = 30,
) -> Response:
    """The task as it stands. With wait_for it answers once the task is settled (final or paused) or final, or after timeout."""
    service = service_of(request)
    found, revision = await service.call(service.store.versioned, task_id, tenant=caller.sees)
    if wait_for_ is not None:
        await wait_for(service, task_id, wait_for_, timeout)
        found, revision = await service.call(service.store.versioned, task_id, tenant=caller.sees)
    return document(found.document(), headers={"ETag": f'"{revision}"'})


@router.patch("/{task_id}", response_model=TaskOut, responses=problems(408, 409, 412, 413, 415), summary="Change a task's limits")
async def change(
    request: Request,
    task_id: str,
    body: TaskChange,
    caller: Annotated[Caller, Depends(may("approve"))],
    if_match: IfMatch = "",
) -> Response:
    """Change limits, priority or note of a task that is not final; a running one feels it within a second."""
    service = service_of(request)
    given = body.model_dump(exclude_none=True, exclude={"by"})
    revision = int(if_match.strip('"')) if if_match not in ("", "*") else None
    if given:
        await _change(service, caller, task_id, given, body.by, revision)
    found, now = await service.call(service.store.versioned, task_id, tenant=caller.sees)
    return document(found.document(), headers={"ETag": f'"{now}"'})


async def _change(service: Service, caller: Caller, task_id: str, given: dict[str, Any], by: str, revision: int | None) -> None:
    async with service.audited(caller, "update", task_id, by, **given):
        task = await service.call(service.store.get, task_id, tenant=caller.sees)
        service.settings.budget_for(task.task_type, Budget.of(given.get("budget"), task.budget))
        service.settings.timeouts_for(task.task_type, Timeouts.of(given.get("timeouts"), task.timeouts))
        who = caller.actor(by)
        await service.call(service.store.update, task_id, **given, by=who, tenant=caller.sees, if_revision=revision)


@router.delete("/{task_id}", status_code=204, responses=problems(409), summary="Erase a task's content")
async def erase(request: Request, task_id: str, caller: Annotated[Caller, Depends(may("admin"))]) -> Response:
    """Erase goal, input, results, checkpoints, files and the text of its journal; its figures stay. Only of a final task."""
    service = service_of(request)
    async with service.audited(caller, "erase", task_id):
        await service.call(service.store.erase, task_id, tenant=caller.sees)
        await service.call(erase_files, service.settings, service.files, task_id)
    return Response(status_code=204)
