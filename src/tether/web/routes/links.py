"""Links for end users: made with a key, used without one."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from tether.errors import Conflict, NotAuthorised
from tether.task import Answer, TaskDocument
from tether.web import links
from tether.web.access import Caller, may
from tether.web.answers import document, problems
from tether.web.bodies import StrictRoute
from tether.web.problems import Refused
from tether.web.routes.decisions import act, decide
from tether.web.schemas.decisions import Document, LinkIn, LinkUse
from tether.web.service import Service, service_of

__all__ = ["router", "shown", "use", "used"]

router = APIRouter(prefix="/v1", tags=["links"], route_class=StrictRoute)
_USES_PER_S = 5
_CHANGES = ("retry", "cancel", "escalate")
_WITHOUT_KEY = {status: said for status, said in problems(408, 409, 413, 415).items() if status != 401}


@router.post(
    "/tasks/{task_id}/links", status_code=201, response_model=Document, responses=problems(408, 413, 415), summary="Make a link"
)
async def make(request: Request, task_id: str, body: LinkIn, caller: Annotated[Caller, Depends(may("approve"))]) -> Response:
    """A signed URL with which somebody without a key can see this task and do what is chosen here, until it expires."""
    service = service_of(request)
    task = await service.call(service.store.get, task_id, tenant=caller.sees)
    link = links.Link(
        task_id=task_id,
        tenant=task.tenant,
        actions=tuple(dict.fromkeys(body.actions)),
        most=links.ceilings(task, body.most.model_dump(exclude_none=True)),
        until=int(time.time()) + body.expires_s,
        by=caller.actor(body.by)[:200],
    )
    async with service.audited(caller, "link_create", task_id, body.by, actions=body.actions, most=dict(link.most)):
        token = links.sign(service.vault, link)
    out = {"token": token, "url": f"{service.url}/l/{token}", "actions": list(link.actions), "expires_s": body.expires_s}
    return document(out, 201)


@router.get("/links/{token}", response_model=Document, responses=_WITHOUT_KEY, summary="See a task through a link")
async def see(request: Request, token: str) -> Response:
    """State, message, result so far, the open question, and what this link allows now. Needs no key."""
    service = service_of(request)
    link, task = await used(service, token)
    return document(shown(task, link))


@router.post("/links/{token}", response_model=Document, responses=_WITHOUT_KEY, summary="Act through a link")
async def post(request: Request, token: str, body: LinkUse) -> Response:
    """Do one of the things the link allows. Needs no key."""
    service = service_of(request)
    link, task = await used(service, token)
    add = body.add.model_dump(exclude_none=True)
    answer = Answer(decision=body.action, add=add, text=body.text, comment=body.comment) if body.action not in _CHANGES else None
    task = await use(service, link, task, body.action, answer, request.client.host if request.client else "")
    return document(shown(task, link))


async def used(service: Service, token: str) -> tuple[links.Link, TaskDocument]:
    """The link and its task; raises Refused for a link that is not valid or used too often, NotFound."""
    link = links.verified(service.vault, token)
    wait_s = service.access.rates.take(f"link:{link.task_id}", _USES_PER_S)
    if wait_s > 0:
        raise Refused("rate_limited", "this link is used too often; wait", {"Retry-After": str(int(wait_s) + 1)})
    return link, await service.call(service.store.get, link.task_id, tenant=link.tenant)


async def use(
    service: Service, link: links.Link, task: TaskDocument, action: str, answer: Answer | None, address: str
) -> TaskDocument:
    """One action through a link, as the audit log has it: by the link's holder."""
    if action not in link.actions:
        raise NotAuthorised(f"this link allows {', '.join(link.actions)}")
    caller = Caller(key_id="", name=f"link by {link.by}", tenant=link.tenant, scopes=frozenset(), address=address)
    if answer is None:
        return await act(service, caller, action, task.id, "", "holder of the link")
    if task.approval is None or task.approval.state != "open":
        raise Conflict(f"{task.id} is {task.state} and waits for no decision")
    links.check_room(task, link, answer.add)
    by = caller.actor("holder of the link")
    decided = Answer(decision=answer.decision, add=answer.add, text=answer.text, comment=answer.comment, by=by)
    return await decide(service, caller, task.approval.id, decided, "holder of the link")


def shown(task: TaskDocument, link: links.Link) -> dict[str, Any]:
    """What the holder of a link sees: nothing of other tasks, keys, spend per call or machines."""
    whole = task.document()
    out = {
        name: whole[name] for name in ("id", "state", "reason", "message", "goal", "result", "partial", "progress", "updated_at")
    }
    asked = task.approval if task.approval is not None and task.approval.state == "open" else None
    out["question"] = asked.question if asked else None
    out["actions"] = [action for action in task.actions if action in link.actions]
    out["may_add"] = links.room(task, link) if "approve" in out["actions"] else {}
    return out
