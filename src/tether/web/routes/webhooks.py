"""/v1/webhooks: endpoints, their deliveries, tests and replays."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from tether.store.access_rows import EndpointRow, NewEndpoint
from tether.web.access import Caller, may
from tether.web.answers import Cursor, Limit, document, documents, problems
from tether.web.bodies import StrictRoute
from tether.web.schemas.access import DeliveryOut, SecretOut, WebhookIn, WebhookMade, WebhookOut
from tether.web.schemas.documents import ListOf
from tether.web.service import service_of
from tether.web.targets import check_url

__all__ = ["new_secret", "router"]

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=StrictRoute)
Admin = Annotated[Caller, Depends(may("admin"))]


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@router.post("", status_code=201, response_model=WebhookMade, responses=problems(408, 413, 415), summary="Add a webhook")
async def create(request: Request, body: WebhookIn, caller: Admin) -> Response:
    """Every state change and approval of this tenant's tasks is POSTed there, signed, until it is taken or 24 hours passed."""
    service = service_of(request)
    await check_url(body.url, service.settings.webhooks)
    secret = new_secret()
    new = NewEndpoint(
        tenant=caller.tenant,
        url=body.url,
        secret=await service.call(service.vault.seal, secret),
        format=body.format,
        kinds=tuple(body.events),
        created_by=caller.actor(),
    )
    async with service.audited(caller, "webhook_create", "", url=body.url) as desk:
        most = service.settings.webhooks.per_tenant
        made: EndpointRow = await service.call(service.store.add_endpoint, new, most=most)
        desk.about = made.id
    return document({**made.document(), "secret": secret}, 201, {"Location": f"/v1/webhooks/{made.id}"})


@router.get("", response_model=ListOf[WebhookOut], responses=problems(), summary="List webhooks")
async def listed(request: Request, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first."""
    service = service_of(request)
    return documents(await service.call(service.store.endpoints, tenant=caller.sees, limit=limit, cursor=cursor))


@router.get("/secret", response_model=SecretOut, responses=problems(), summary="The secret for webhook_url")
async def secret(request: Request, caller: Admin) -> Response:
    """What verifies deliveries to the `webhook_url` of single tasks of this tenant."""
    service = service_of(request)
    sealed = await service.call(service.vault.seal, new_secret())
    row: EndpointRow = await service.call(service.store.single_endpoint, caller.tenant, sealed)
    return document({"secret": await service.call(service.vault.unseal, row.secret)})


@router.get("/deliveries", response_model=ListOf[DeliveryOut], responses=problems(), summary="List deliveries")
async def deliveries(
    request: Request,
    caller: Admin,
    state: Annotated[str | None, Query(pattern="^(pending|delivered|dead)$")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first; state=dead lists what was given up."""
    service = service_of(request)
    found = await service.call(service.store.deliveries, tenant=caller.sees, state=state, limit=limit, cursor=cursor)
    return documents(found)


@router.post("/deliveries/{delivery_id}/replay", status_code=202, response_model=DeliveryOut, responses=problems(409))
async def replay(request: Request, delivery_id: str, caller: Admin) -> Response:
    """Send a delivered or dead one again, under the same id, so that a receiver can tell."""
    service = service_of(request)
    async with service.audited(caller, "webhook_replay", delivery_id):
        found = await service.call(service.store.replay_delivery, delivery_id, tenant=caller.sees)
    return document(found.document(), 202)


@router.get("/{webhook_id}", response_model=WebhookOut, responses=problems(), summary="Read a webhook")
async def one(request: Request, webhook_id: str, caller: Admin) -> Response:
    """Without its secret."""
    service = service_of(request)
    return document((await service.call(service.store.endpoint, webhook_id, tenant=caller.sees)).document())


@router.post("/{webhook_id}/test", status_code=202, response_model=DeliveryOut, responses=problems(409), summary="Send a test")
async def test(request: Request, webhook_id: str, caller: Admin) -> Response:
    """A signed delivery of type `test`; look for it in the deliveries."""
    service = service_of(request)
    async with service.audited(caller, "webhook_test", webhook_id):
        found = await service.call(service.store.test_delivery, webhook_id, tenant=caller.sees)
    return document(found.document(), 202)


@router.delete("/{webhook_id}", status_code=204, responses=problems(), summary="Remove a webhook")
async def remove(request: Request, webhook_id: str, caller: Admin) -> Response:
    """What is still on its way to it is given up."""
    service = service_of(request)
    async with service.audited(caller, "webhook_remove", webhook_id):
        await service.call(service.store.remove_endpoint, webhook_id, tenant=caller.sees)
    return Response(status_code=204)
