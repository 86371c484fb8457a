"""What is inside a task: its journal, result, files, and the state of an attempt."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tether.errors import NotFound
from tether.events import KINDS
from tether.lifecycle import FINAL
from tether.store.rows import NewArtifact
from tether.task import rfc3339
from tether.web.access import Caller, may
from tether.web.answers import document, problems
from tether.web.bodies import StrictRoute
from tether.web.schemas.documents import ArtifactsOut, EventOut, ListOf, ResultOut, StateOut
from tether.web.service import Service, service_of
from tether.web.sse import EventStream

__all__ = ["router"]

router = APIRouter(prefix="/v1/tasks/{task_id}", tags=["tasks"], route_class=StrictRoute)
Reader = Annotated[Caller, Depends(may("read"))]
_CHUNK = 256 * 1024
_EVENTS = problems() | {
    200: {
        "model": ListOf[EventOut],
        "description": "A page of the journal; with Accept: text/event-stream the journal as it grows",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "Server-sent events: the task is final and everything was sent; do not come back"},
}


@router.get("/events", responses=_EVENTS, summary="Read or follow the journal")
async def events(
    request: Request,
    task_id: str,
    caller: Reader,
    after: Annotated[int, Query(ge=0, le=2**53, description="seq of the last event you have")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    type: Annotated[list[str], Query(max_length=60, description="only these types")] = [],  # noqa: B006 - FastAPI copies it
    accept: Annotated[str, Header(max_length=1000)] = "application/json",
    last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,15}$", description="seq of the last event; resumes a stream")] = "",
) -> Response:
    """The journal in order of seq. As server-sent events it goes on until the task is final, and resumes by Last-Event-ID."""
    service, store = service_of(request), service_of(request).store
    if "text/event-stream" in accept:
        start = max(after, int(last_event_id or 0))
        news = await service.call(store.events, task_id, after=start, limit=1, tenant=caller.sees)
        states = await service.call(store.states, [task_id])
        if not news and states[task_id][0] in FINAL:
            return Response(status_code=204)
        return _Raw(EventStream(service, task_id, start, caller.sees))
    wanted = [kind for kind in type if kind in KINDS]
    if type and not wanted:
        return document({"data": [], "next_cursor": None})
    found = await service.call(store.events, task_id, after=after, limit=limit, types=wanted, tenant=caller.sees)
    cursor = str(found[-1].seq) if len(found) == limit else None
    return document({"data": [event.document() for event in found], "next_cursor": cursor})


class _Raw(Response):
    """An ASGI application where a Response is expected."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@router.get("/result", response_model=ResultOut, responses=problems(), summary="Read the result")
async def result(request: Request, task_id: str, caller: Reader) -> Response:
    """The result of a success; otherwise why there is none, and what was accomplished (`partial`)."""
    service = service_of(request)
    task = (await service.call(service.store.get, task_id, tenant=caller.sees)).document()
    return document({name: task[name] for name in ResultOut.model_fields})


@router.get("/artifacts", response_model=ArtifactsOut, responses=problems(), summary="List the files kept of a task")
async def artifacts(request: Request, task_id: str, caller: Reader) -> Response:
    """Name, size and hash of each."""
    service = service_of(request)
    task = await service.call(service.store.get, task_id, tenant=caller.sees)
    return document({"data": [dict(artifact) for artifact in task.artifacts], "next_cursor": None})


_BYTES = {
    200: {
        "description": "The file's bytes",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/artifacts/{name:path}", responses=_BYTES | problems(), summary="Fetch a file of a task")
async def artifact(request: Request, task_id: str, name: str, caller: Reader) -> Response:
    """Always sent as a download, so that a browser never runs what an agent wrote."""
    service = service_of(request)
    kept = {found.name: found for found in await service.call(service.store.artifacts, task_id, tenant=caller.sees)}
    if name not in kept:
        raise NotFound("artifact", name)
    fd = await service.call(_open, service, task_id, kept[name])
    shown = quote(Path(name).name, safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{shown}", "Cache-Control": "no-store"}
    return StreamingResponse(_chunks(fd), 200, headers, "application/octet-stream")


def _open(service: Service, task_id: str, kept: NewArtifact) -> int:
    """The file, opened: from the workspace where that is on this host, else a copy out of the [files] store."""
    folder = (service.settings.workspaces / task_id).resolve()
    parts = urlsplit(kept.url)
    if parts.scheme == "file" and (fd := _open_inside(folder, unquote(parts.path))) is not None:
        return fd
    if service.files is not None:
        with tempfile.TemporaryDirectory(prefix="tether-artifact-") as place:
            target = Path(place, "file")
            service.files.fetch(task_id, kept.sha256, target)
            return os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    raise NotFound("artifact", kept.name, "its file is not on this host")


def _open_inside(folder: Path, path: str) -> int | None:
    """The agent may have put links in the way, so where a file really is is checked after opening it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(folder):
        return fd
    os.close(fd)
    return None


def _chunks(fd: int) -> Iterator[bytes]:
    with open(fd, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


Number = Annotated[int, InPath(ge=1, le=10**6)]


@router.get("/attempts/{number}/state", response_model=StateOut, responses=problems(), summary="Look inside an attempt")
async def attempt_state(request: Request, task_id: str, number: Number, caller: Reader) -> Response:
    """The last checkpoint, and the dump made before a kill: stacks, processes, output, calls in flight."""
    service = service_of(request)
    found = await service.call(service.store.attempt_state, task_id, number, tenant=caller.sees)
    kept = found.checkpoint
    checkpoint = kept and {
        "number": kept.number,
        "attempt": kept.attempt,
        "step": kept.step,
        "agent_version": kept.agent_version,
        "state": kept.state,
        "created_at": rfc3339(kept.created_at_ms),
    }
    return document(
        {
            "task_id": found.task_id,
            "attempt": found.attempt,
            "checkpoint": checkpoint,
            "dump": None if found.dump is None else dict(found.dump),
            "dumped_at": rfc3339(found.dumped_at_ms),
        }
    )
