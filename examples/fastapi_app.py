"""FastAPI: enqueue a goal, poll it, stream its journal. `uvicorn fastapi_app:app`, with TETHER_API_URL and TETHER_API_KEY."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from tether import AsyncClient, AutoGPTTask


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncClient() as app.state.tether:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/reports", status_code=202)
async def start(topic: str, user: str) -> dict[str, Any]:
    task = AutoGPTTask(goal=f"Write a short report on {topic}", user=user, budget={"max_usd": 1})
    return {"id": await app.state.tether.submit(task, by=user)}


@app.get("/reports/{task_id}")
async def show(task_id: str) -> dict[str, Any]:
    task = await app.state.tether.get(task_id)
    return {"state": task.state, "message": task.message, "result": task.result, "partial": task.partial, "actions": task.actions}


@app.get("/reports/{task_id}/live")
async def live(task_id: str) -> StreamingResponse:
    events = app.state.tether.events(task_id, follow=True)
    return StreamingResponse((f"data: {json.dumps(e.document())}\n\n" async for e in events), media_type="text/event-stream")
