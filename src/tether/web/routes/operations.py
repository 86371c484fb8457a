"""For operators: holds, workers, usage, exports, the audit log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from tether.errors import NotAuthorised, NotFound, ValidationError
from tether.store.figures import GROUPS, UsageFilter
from tether.store.rows import Hold, Page, TaskFilter
from tether.task import TaskDocument, rfc3339
from tether.web.access import Caller, may
from tether.web.answers import Cursor, Limit, document, documents, problems, rows
from tether.web.bodies import StrictRoute
from tether.web.routes.tasks import filtered
from tether.web.schemas.access import AuditOut
from tether.web.schemas.decisions import Document, HoldIn
from tether.web.schemas.documents import ListOf, UsageRow, WorkerOut
from tether.web.schemas.tasks import When
from tether.web.service import Service, service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["operations"], route_class=StrictRoute)
Admin = Annotated[Caller, Depends(may("admin"))]
Reader = Annotated[Caller, Depends(may("read"))]
Form = Annotated[Literal["csv", "json", "jsonl"], Query(alias="format")]
_DAY_MS = 86_400_000
_EXPORTED = 200
_TASK_COLUMNS = (
    "id state reason message agent agent_version task_type goal user tenant priority llm_calls usd tokens web_requests tool_calls"
    " steps attempts created_at updated_at ended_at tags metadata result partial"
).split()
_CSV = {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}}


# --- holds


@router.post(
    "/holds", status_code=201, response_model=Document, responses=problems(408, 413, 415), summary="Hold claims or calls"
)
async def hold(request: Request, body: HoldIn, caller: Admin) -> Response:
    """Within a second, workers claim nothing that matches, or its calls are stopped and its tasks pause, until it is released."""
    service = service_of(request)
    given = body.model_dump(exclude={"by"})
    if caller.sees is not None and body.tenant != caller.tenant:
        raise NotAuthorised(f"this key may hold only its own tenant; add tenant={caller.tenant!r}")
    async with service.audited(caller, "hold", "", body.by, **given) as desk:
        made: Hold = await service.call(service.store.hold, **given, by=caller.actor(body.by))
        desk.about = made.id
    return document(_hold(made), 201)


@router.get("/holds", response_model=ListOf[Document], responses=problems(), summary="List holds")
async def holds(request: Request, caller: Admin) -> Response:
    """The holds in force."""
    return document({"data": [_hold(found) for found in await _visible(service_of(request), caller)], "next_cursor": None})


@router.delete("/holds/{hold_id}", status_code=204, responses=problems(), summary="Release a hold")
async def release(request: Request, hold_id: str, caller: Admin) -> Response:
    """What it stopped goes on."""
    service = service_of(request)
    if hold_id not in {found.id for found in await _visible(service, caller)}:
        raise NotFound("hold", hold_id)
    async with service.audited(caller, "release", hold_id):
        await service.call(service.store.release, hold_id)
    return Response(status_code=204)


async def _visible(service: Service, caller: Caller) -> list[Hold]:
    found = await service.call(service.store.holds)
    return [hold for hold in found if caller.sees is None or hold.tenant == caller.sees]


def _hold(found: Hold) -> dict[str, Any]:
    out = {name: getattr(found, name) for name in Hold.__dataclass_fields__ if name != "created_at_ms"}
    return {**out, "created_at": rfc3339(found.created_at_ms)}


# --- workers


@router.get("/workers", response_model=ListOf[WorkerOut], responses=problems(), summary="List live workers")
async def workers(request: Request, caller: Reader) -> Response:  # noqa: ARG001
    """Where tasks can run now, and how busy it is there."""
    service = service_of(request)
    alive = [row for row in await service.call(service.store.workers) if not row.expired]
    data = [
        {
            **{name: getattr(row, name) for name in ("id", "host", "state", "version", "slots", "leases")},
            "agents": list(row.agents),
            "models": row.facts.get("models"),
            "started_at": rfc3339(row.started_at_ms),
            "beat_at": rfc3339(row.beat_at_ms),
        }
        for row in alive
    ]
    return document({"data": data, "next_cursor": None})


# --- usage and exports


async def _window(
    caller: Reader,
    group_by: Annotated[str, Query(pattern=r"^$|^(tenant|user|task_type|model)(,(tenant|user|task_type|model)){0,3}$")] = "",
    bucket: Annotated[Literal["day"] | None, Query()] = None,
    created_from: Annotated[When | None, Query(description="included; 30 days ago by default")] = None,
    created_to: Annotated[When | None, Query(description="not included; now by default")] = None,
) -> UsageFilter:
    """Of tasks submitted in a window."""
    now_ms = time.time_ns() // 1_000_000 + _DAY_MS
    bounds = {"created_from": now_ms - 31 * _DAY_MS, "created_to": now_ms}
    for name, at in (("created_from", created_from), ("created_to", created_to)):
        if at is not None and at.tzinfo is None:
            raise ValidationError(name, "has no time zone", "write 2026-01-31T12:00:00Z")
        if at is not None:
            bounds[name] = max(int(at.timestamp() * 1000), 0)
    groups = tuple(name for name in GROUPS if name in group_by.split(","))
    return UsageFilter(
        from_ms=bounds["created_from"],
        to_ms=bounds["created_to"],
        group_by=groups,
        by_day=bucket == "day",
        tenant=caller.sees,
    )


Window = Annotated[UsageFilter, Depends(_window)]


@router.get("/usage", response_model=ListOf[UsageRow], responses=problems(), summary="What was spent")
async def usage(request: Request, where: Window) -> Response:
    """Sums over tasks submitted in a window, by tenant, user, task type, model and day; by model only what is known per call."""
    service = service_of(request)
    return document({"data": await service.call(service.store.usage_by, where), "next_cursor": None})


@router.get("/exports/usage", responses={200: {"model": Document, "description": "A download", "content": _CSV}} | problems())
async def export_usage(request: Request, where: Window, form: Form = "csv") -> Response:
    """GET /v1/usage as a download."""
    service = service_of(request)
    found = await service.call(service.store.usage_by, where)

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        yield found

    columns = list(found[0]) if found else ["tasks"]
    return rows(pages(), form, columns, "usage")


@router.get("/exports/tasks", responses={200: {"model": Document, "description": "A download", "content": _CSV}} | problems())
async def export_tasks(request: Request, where: Annotated[TaskFilter, Depends(filtered)], form: Form = "csv") -> Response:
    """All tasks that match, newest first, streamed; json and jsonl hold whole documents."""
    service = service_of(request)

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        cursor: str | None = None
        while True:
            page: Page[TaskDocument] = await service.call(service.store.tasks, where, limit=_EXPORTED, cursor=cursor)
            found = [task.document() for task in page.data]
            yield [_flat(task) for task in found] if form == "csv" else found
            cursor = page.next_cursor
            if cursor is None:
                return

    return rows(pages(), form, _TASK_COLUMNS, "tasks")


def _flat(task: dict[str, Any]) -> dict[str, Any]:
    return {**task, **task["usage"], "attempts": len(task["attempts"])}


@router.get("/audit", response_model=ListOf[AuditOut], responses=problems(), summary="Read the audit log")
async def audit(
    request: Request,
    caller: Admin,
    about: Annotated[str | None, Query(max_length=200, description="id of a task, key, hold, webhook")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Every decision: who, with which key, from where, what, and how it ended; newest first."""
    service = service_of(request)
    return documents(await service.call(service.store.audit, tenant=caller.sees, about=about, limit=limit, cursor=cursor))
