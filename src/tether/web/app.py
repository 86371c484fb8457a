"""The application: routes, the gate before them, and what runs beside them for as long as the process lives."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI

from tether import __version__
from tether.config import Settings
from tether.files import open_files
from tether.queue.announcements import Announcements
from tether.secrets import Vault
from tether.store import Store
from tether.web import problems
from tether.web.access import Access
from tether.web.answers import PROBLEM_SCHEMA
from tether.web.deliveries import Deliveries
from tether.web.gate import Gate, is_open
from tether.web.housekeeping import Housekeeping
from tether.web.routes import decisions, files, health, keys, links, operations, pages, reading, tasks, webhooks
from tether.web.service import Service, Threads
from tether.web.shortcut import Shortcut
from tether.web.submissions import Submissions
from tether.web.tail import JournalTail

__all__ = ["create_app", "describe", "listed"]

_DESCRIPTION = """Submit goals for LLM agents, follow them, decide for them, fetch what they made.
Every error is an RFC 9457 problem with a stable `code`. Lists are `{"data": […], "next_cursor": …}`."""
_ROUTERS = (tasks, reading, decisions, operations, files, keys, webhooks, links, health, pages)


def create_app(settings: Settings, store: Store, address: str = "") -> FastAPI:
    """The application on an open store; `address` is where it is reached when [api] public_url does not say."""
    threads = Threads(settings.api.threads)
    service = Service(
        settings=settings,
        store=store,
        threads=threads,
        vault=Vault.of(settings),
        access=Access(store, threads, settings.api.rate_per_s),
        submissions=Submissions(store, threads),
        tail=JournalTail(store, threads),
        announcements=Announcements(settings.queue, store),
        files=open_files(settings.files),
        closing=threading.Event(),
        address=address,
    )
    app = FastAPI(
        title="Tether",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.counts = Counter()
    app.state.figures = {}
    app.add_middleware(Shortcut, service=service)
    app.add_middleware(Gate, service=service, counts=app.state.counts)
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.openapi = lambda: describe(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    service: Service = app.state.service
    parts = (service.submissions, service.tail, Deliveries(service), Housekeeping(service))
    service.announcements.start()
    for part in parts:
        part.start()
    try:
        yield
    finally:
        service.closing.set()
        for part in parts:
            await part.stop()
        await asyncio.to_thread(service.announcements.close)
        service.threads.close()


def listed() -> dict[str, Any]:
    """The OpenAPI document of no server in particular, for the reference."""
    app = FastAPI(title="Tether", version=__version__, description=_DESCRIPTION)
    for module in _ROUTERS:
        app.include_router(module.router)
    return app.openapi()


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the problem schema and the names that this configuration knows."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        schemas = found["components"]["schemas"]
        schemas["Problem"] = PROBLEM_SCHEMA
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _secure(found)
        settings: Settings = app.state.service.settings
        schemas["TaskIn"]["properties"]["agent"] = {"anyOf": [{"enum": settings.agent_names()}, {"type": "null"}]}
        schemas["TaskIn"]["properties"]["prohibited"]["anyOf"][0]["items"] = _prohibited(settings)
        schemas["TaskIn"]["properties"]["model"] = {"anyOf": [{"enum": sorted(settings.models)}, {"type": "null"}]}
        app.openapi_schema = found
    return app.openapi_schema


def _prohibited(settings: Settings) -> dict[str, Any]:
    """A tool that there is, or a host, which has a dot or a port."""
    host = {"type": "string", "maxLength": 200, "pattern": r"^[^\s.:/]+[.:][^\s/]*$"}
    return {"anyOf": [{"enum": settings.tool_names()}, host]}


def _secure(found: dict[str, Any]) -> None:
    """Every operation but the open ones needs a key; said here because the gate sees to it, not the routes."""
    scheme = {"type": "http", "scheme": "bearer", "description": "A key made by `tether keys create`."}
    found["components"]["securitySchemes"] = {"key": scheme}
    for path, methods in found["paths"].items():
        if not is_open(path):
            for how in methods.values():
                how["security"] = [{"key": []}]
