"""What humans and their programs decide: pause, resume, cancel, retry, escalate, and the answers to open questions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request
from starlette.responses import Response

from tether.task import Answer, Approval, TaskDocument
from tether.web.access import Caller, may
from tether.web.answers import Cursor, Limit, document, documents, problems
from tether.web.bodies import StrictRoute
from tether.web.schemas.decisions import ActionIn, DecisionIn
from tether.web.schemas.documents import ApprovalOut, ListOf, TaskOut
from tether.web.service import Service, service_of

__all__ = ["act", "decide", "router"]

router = APIRouter(prefix="/v1", tags=["decisions"], route_class=StrictRoute)
_ACTIONS = {
    "pause": ("Pause it", "At once when queued, at the next checkpoint when running."),
    "resume": ("Resume it", "Queue a task again that was paused by hand; one that waits for a decision needs that decision."),
    "cancel": ("Cancel it", "It ends, and what it accomplished is kept as the partial result."),
    "retry": ("Retry it", "Queue a failed or cancelled task again from its last checkpoint; what it spent stays counted."),
    "escalate": ("Escalate it", "Ask a human to take over: it pauses until somebody decides."),
}


async def act(service: Service, caller: Caller, verb: str, task_id: str, note: str, by: str) -> TaskDocument:
    """One of the actions, audited."""
    async with service.audited(caller, verb, task_id, by, note=note):
        task = await service.call(getattr(service.store, verb), task_id, by=caller.actor(by), note=note, tenant=caller.sees)
    return service.announce(task)


def _action(verb: str) -> Callable[..., Awaitable[Response]]:
    async def action(
        request: Request,
        task_id: str,
        caller: Annotated[Caller, Depends(may("submit", "approve"))],
        body: Annotated[ActionIn, Body()] = ActionIn(),  # noqa: B008
    ) -> Response:
        return document((await act(service_of(request), caller, verb, task_id, body.note, body.by)).document())

    action.__doc__ = _ACTIONS[verb][1]
    return action


for _verb, (_summary, _) in _ACTIONS.items():
    router.post(
        f"/tasks/{{task_id}}/{_verb}",
        response_model=TaskOut,
        responses=problems(408, 409, 413, 415),
        summary=_summary,
        operation_id=_verb,
    )(_action(_verb))


@router.get("/approvals", response_model=ListOf[ApprovalOut], responses=problems(), summary="List questions to humans")
async def approvals(
    request: Request,
    caller: Annotated[Caller, Depends(may("read", "approve"))],
    state: Annotated[str, Query(pattern="^(open|approved|rejected|answered|expired|any)$")] = "open",
    task_id: Annotated[str | None, Query(max_length=100)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first; open ones unless asked otherwise."""
    service = service_of(request)
    wanted = None if state == "any" else state
    store = service.store
    found = await service.call(store.approvals, state=wanted, task_id=task_id, tenant=caller.sees, limit=limit, cursor=cursor)
    return documents(found)


@router.get("/approvals/{approval_id}", response_model=ApprovalOut, responses=problems(), summary="Read a question")
async def approval(request: Request, approval_id: str, caller: Annotated[Caller, Depends(may("read", "approve"))]) -> Response:
    """With what was spent, done and asked."""
    service = service_of(request)
    found: Approval = await service.call(service.store.approval, approval_id, tenant=caller.sees)
    return document(found.document())


@router.post(
    "/approvals/{approval_id}/decision",
    response_model=TaskOut,
    responses=problems(408, 409, 413, 415),
    summary="Decide",
)
async def decision(
    request: Request, approval_id: str, body: DecisionIn, caller: Annotated[Caller, Depends(may("approve"))]
) -> Response:
    """Approve (add: budget on top), reject, edit or answer; the task goes on from where it stands, or ends."""
    answer = Answer(
        decision=body.decision,
        add=body.add.model_dump(exclude_none=True),
        text=body.text,
        comment=body.comment,
        by=caller.actor(body.by),
    )
    return document((await decide(service_of(request), caller, approval_id, answer, body.by)).document())


async def decide(service: Service, caller: Caller, approval_id: str, answer: Answer, by: str = "") -> TaskDocument:
    """A decision, audited and within the ceilings of the configuration."""
    store = service.store
    asked: Approval = await service.call(store.approval, approval_id, tenant=caller.sees)
    detail = {"approval": approval_id, "add": dict(answer.add), "comment": answer.comment}
    async with service.audited(caller, answer.decision, asked.task_id, by, **detail):
        if answer.add:
            task = await service.call(store.get, asked.task_id, tenant=caller.sees)
            service.settings.budget_for(task.task_type, task.budget.plus(answer.add))
        return service.announce(await service.call(store.decide, approval_id, answer, tenant=caller.sees))
