"""For machines that watch: is it alive, is it ready, what are the figures."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from tether.errors import TetherError
from tether.web.access import Caller, may
from tether.web.answers import document, problems
from tether.web.bodies import StrictRoute
from tether.web.figures import text
from tether.web.problems import problem
from tether.web.schemas.decisions import Document
from tether.web.service import service_of

__all__ = ["router"]

router = APIRouter(tags=["health"], route_class=StrictRoute)
_FIGURES_S = 10.0
_TEXT = {200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}}
_NOT_READY = {status: said for status, said in problems().items() if status == 503}


@router.get("/healthz", response_model=Document, summary="Is it alive")
async def alive() -> Response:
    """Answers as long as the process does; asks nothing of the store."""
    return document({"status": "ok"})


@router.get("/readyz", response_model=Document, responses=_NOT_READY, summary="Is it ready")
async def ready(request: Request) -> Response:
    """Whether the store answers."""
    service = service_of(request)
    if service.closing.is_set():
        return problem("server_unavailable", "the server stops")
    try:
        await service.call(service.store.now_ms)
    except TetherError:
        return problem("store_unavailable", "the store does not answer")
    return document({"status": "ok"})


@router.get("/metrics", responses=_TEXT | problems(), response_class=Response, summary="Figures for Prometheus")
async def metrics(request: Request, caller: Annotated[Caller, Depends(may("read"))]) -> Response:
    """Of the key's tenant, or of all with tenants:any; counted anew every ten seconds at most."""
    service = service_of(request)
    kept: dict[str | None, tuple[float, str]] = request.app.state.figures
    at, said = kept.get(caller.sees, (0.0, ""))
    if time.monotonic() - at > _FIGURES_S:
        counts: Counter[tuple[str, int]] = request.app.state.counts
        found = await service.call(service.store.figures, tenant=caller.sees)
        said = text(found, counts if caller.sees is None else Counter(), service.tail.count)
        if len(kept) > 1000:
            kept.clear()
        kept[caller.sees] = (time.monotonic(), said)
    return Response(said, media_type="text/plain; version=0.0.4")
