"""/v1/files: bytes that tasks name as `upload:ID`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tether.config import Settings
from tether.store.access_rows import NewUpload
from tether.store.ids import new_id
from tether.uploads import folder
from tether.web.access import Caller, may
from tether.web.answers import Cursor, Limit, document, documents, problems
from tether.web.bodies import StrictRoute
from tether.web.problems import Refused
from tether.web.schemas.access import UploadOut
from tether.web.schemas.documents import ListOf
from tether.web.service import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=StrictRoute)
_CHUNK_PER_BODY_S = 8 * 1024 * 1024
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes themselves: curl --data-binary @report.pdf -H 'Content-Type: application/octet-stream'",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Name = Annotated[str, Query(min_length=1, max_length=255, pattern=r"^[^/\x00-\x1f\x7f]+$", description="shown in lists")]


@router.post(
    "",
    status_code=201,
    response_model=UploadOut,
    responses=problems(408, 413),
    openapi_extra=_BODY,
    summary="Upload a file",
)
async def upload(request: Request, caller: Annotated[Caller, Depends(may("submit"))], name: Name = "file") -> Response:
    """Keep the body as a file; give it to a task as `files: {"name in the workspace": "upload:ID"}`."""
    service = service_of(request)
    upload_id = new_id("upload")
    part = folder(service.settings) / f"{upload_id}.part"
    kind = request.headers.get("content-type", "application/octet-stream")
    try:
        size, sha256 = await _receive(request, service.settings, part)
        new = NewUpload(
            id=upload_id,
            tenant=caller.tenant,
            name=name,
            size_bytes=size,
            sha256=sha256,
            content_type=kind[:200] if re.fullmatch(r"[\x20-\x7e]+", kind) else None,
            created_by=caller.actor(),
        )
        most = service.settings.api.uploads_mb * 1024 * 1024
        stored = await service.call(service.store.add_upload, new, most_bytes=most)
        part.rename(folder(service.settings) / stored.id)
    finally:
        part.unlink(missing_ok=True)
    return document(stored.document(), 201, {"Location": f"/v1/files/{stored.id}"})


async def _receive(request: Request, settings: Settings, part: Path) -> tuple[int, str]:
    """Write the body to a file only its owner can read; its size and sha256. Raises Refused: too large, too slow."""
    api = settings.api
    most = api.max_upload_mb * 1024 * 1024
    digest, size = hashlib.sha256(), 0
    part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        async with asyncio.timeout(api.body_s * (1 + most / _CHUNK_PER_BODY_S)):
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise Refused("too_large", f"the file has more than {api.max_upload_mb} MB", {"Connection": "close"})
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk) if chunk else None
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
    except TimeoutError:
        raise Refused("request_timeout", "the file came too slowly", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused("malformed", "the connection was closed before the file was complete") from None
    return size, digest.hexdigest()


@router.get("", response_model=ListOf[UploadOut], responses=problems(), summary="List files")
async def files(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Newest first."""
    service = service_of(request)
    return documents(await service.call(service.store.uploads, tenant=caller.sees, limit=limit, cursor=cursor))


@router.get("/{file_id}", response_model=UploadOut, responses=problems(), summary="Read what is known of a file")
async def file(request: Request, file_id: str, caller: Annotated[Caller, Depends(may("read"))]) -> Response:
    """Name, size and hash."""
    service = service_of(request)
    return document((await service.call(service.store.upload, file_id, tenant=caller.sees)).document())


@router.delete("/{file_id}", status_code=204, responses=problems(), summary="Delete a file")
async def delete(request: Request, file_id: str, caller: Annotated[Caller, Depends(may("submit"))]) -> Response:
    """Tasks that started before keep their copy."""
    service = service_of(request)
    found = await service.call(service.store.forget_upload, file_id, tenant=caller.sees)
    (folder(service.settings) / found.id).unlink(missing_ok=True)
    return Response(status_code=204)
