"""/v1/keys: making, rotating and revoking keys."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from starlette.responses import Response

from tether.errors import Conflict, NotAuthorised
from tether.store.access_rows import KeyRow, NewKey
from tether.web.access import SCOPES, Caller, may, new_token
from tether.web.answers import Cursor, Limit, document, documents, problems
from tether.web.bodies import StrictRoute
from tether.web.schemas.access import KeyIn, KeyMade, KeyOut, RotateIn
from tether.web.schemas.documents import ListOf
from tether.web.service import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1/keys", tags=["access"], route_class=StrictRoute)
Admin = Annotated[Caller, Depends(may("admin"))]


@router.post("", status_code=201, response_model=KeyMade, responses=problems(408, 413, 415), summary="Make a key")
async def create(request: Request, body: KeyIn, caller: Admin) -> Response:
    """The key is in this answer and nowhere else."""
    service = service_of(request)
    tenant = body.tenant or caller.tenant
    if caller.sees is not None and tenant != caller.tenant:
        raise NotAuthorised(f"this key belongs to tenant {caller.tenant!r}; leave tenant out")
    more = set(body.scopes) - caller.scopes
    if more:
        raise NotAuthorised(f"this key cannot give {', '.join(sorted(more))}, which it does not have")
    token, prefix, hashed = new_token()
    expires = None if body.expires_s is None else time.time_ns() // 1_000_000 + body.expires_s * 1000
    new = NewKey(
        tenant=tenant,
        name=body.name,
        prefix=prefix,
        hash=hashed,
        scopes=tuple(scope for scope in SCOPES if scope in body.scopes),
        created_by=caller.actor(),
        expires_at_ms=expires,
        rate_per_s=body.rate_per_s,
    )
    async with service.audited(caller, "key_create", "", name=body.name, scopes=body.scopes, tenant=tenant) as desk:
        made: KeyRow = await service.call(service.store.add_key, new)
        desk.about = made.id
    return document({**made.document(), "key": token}, 201, {"Location": f"/v1/keys/{made.id}"})


@router.get("", response_model=ListOf[KeyOut], responses=problems(), summary="List keys")
async def listed(request: Request, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first, revoked and expired ones too."""
    service = service_of(request)
    return documents(await service.call(service.store.keys, tenant=caller.sees, limit=limit, cursor=cursor))


@router.get("/{key_id}", response_model=KeyOut, responses=problems(), summary="Read what is known of a key")
async def one(request: Request, key_id: str, caller: Admin) -> Response:
    """Scopes, expiry, last use."""
    service = service_of(request)
    return document((await service.call(service.store.key, key_id, tenant=caller.sees)).document())


@router.post(
    "/{key_id}/rotate", status_code=201, response_model=KeyMade, responses=problems(408, 409, 413, 415), summary="Rotate a key"
)
async def rotate(
    request: Request,
    key_id: str,
    caller: Admin,
    body: Annotated[RotateIn, Body()] = RotateIn(),  # noqa: B008
) -> Response:
    """A new key with the same scopes; the old one works for overlap_s more."""
    service = service_of(request)
    old: KeyRow = await service.call(service.store.key, key_id, tenant=caller.sees)
    now_ms = time.time_ns() // 1_000_000
    if not old.valid(now_ms):
        raise Conflict(f"{key_id} is not valid any more; make a new one")
    if set(old.scopes) - caller.scopes:
        raise NotAuthorised("this key cannot rotate one with more scopes than its own")
    token, prefix, hashed = new_token()
    lives = None if old.expires_at_ms is None else now_ms + (old.expires_at_ms - old.created_at_ms)
    new = NewKey(
        tenant=old.tenant,
        name=old.name,
        prefix=prefix,
        hash=hashed,
        scopes=old.scopes,
        created_by=caller.actor(),
        expires_at_ms=lives,
        rate_per_s=old.rate_per_s,
    )
    async with service.audited(caller, "key_rotate", key_id) as desk:
        made: KeyRow = await service.call(service.store.add_key, new)
        at_ms = now_ms + body.overlap_s * 1000
        await service.call(service.store.revoke_key, key_id, tenant=caller.sees, at_ms=at_ms)
        desk.about = made.id
    return document({**made.document(), "key": token}, 201, {"Location": f"/v1/keys/{made.id}"})


@router.delete("/{key_id}", status_code=204, responses=problems(), summary="Revoke a key")
async def revoke(request: Request, key_id: str, caller: Admin) -> Response:
    """It opens nothing any more, in every process within a second."""
    service = service_of(request)
    async with service.audited(caller, "key_revoke", key_id):
        await service.call(service.store.revoke_key, key_id, tenant=caller.sees)
    service.access.forget()
    return Response(status_code=204)
