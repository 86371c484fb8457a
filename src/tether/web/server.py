"""`tether api`: one process that serves the application until SIGTERM, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from tether.config import Settings
from tether.errors import ConfigurationError, WorkerError
from tether.store import Store, open_store
from tether.web import doorkey
from tether.web.app import create_app
from tether.web.wire import bounded

__all__ = ["configured", "serve"]

_DRAIN_S = 5
_SPARE_FILES = 200
_SWITCH_S = 0.001
_LOOK_S = 0.5
_YOUNG_OBJECTS = 10_000


def serve(settings: Settings, parent: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until the process `parent` is gone; the exit code.

    Raises ConfigurationError, StoreUnavailable, WorkerError.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    store = open_store(settings.store_url)
    try:
        _check_open(settings, store)
        listener = _listen(settings)
        address = _address(settings, listener)
        key = doorkey.ensure(settings, store)
        doorkey.write(settings, address, key)
        _allow_files(settings.api.max_connections)
        print(f"api     {address}", file=sys.stderr, flush=True)
        with asyncio.Runner(loop_factory=_loop()) as runner:
            return runner.run(_serve(settings, store, listener, address, parent))
    finally:
        store.close()


def _loop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


def _check_open(settings: Settings, store: Store) -> None:
    """Beyond loopback only when somebody made keys on purpose."""
    if _is_loopback(settings.api.host):
        return
    now_ms = time.time_ns() // 1_000_000
    made = [key for key in store.keys(limit=200).data if key.valid(now_ms) and key.created_by != "tether api"]
    if not made:
        remedy = "make one first: `tether keys create NAME --scope submit --scope read`"
        raise ConfigurationError("api.host", f"{settings.api.host!r} is beyond this machine and there is no key", remedy)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listen(settings: Settings) -> socket.socket:
    api = settings.api
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((api.host.strip("[]"), api.port))
    except OSError as error:
        listener.close()
        raise WorkerError(f"api.port: {api.host}:{api.port} cannot be used ({error.strerror}); choose another one") from None
    listener.listen(1024)
    return listener


def _address(settings: Settings, listener: socket.socket) -> str:
    host = settings.api.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_files(connections: int) -> None:
    """As many open files as connections may need, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """uvicorn with our bounds, and without what we do not use."""
    return uvicorn.Config(
        app,
        http=bounded(settings.api.max_connections, settings.api.header_s),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_DRAIN_S,
    )


def _spare_collections() -> None:
    """What is loaded now stays: looking through it again and again would stop the loop for tens of milliseconds each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


async def _watch(parent: int, stop: Callable[[], None]) -> None:
    """Stop when the process that started this one is gone, however it ended."""
    while os.getppid() == parent:
        await asyncio.sleep(_LOOK_S)
    stop()


async def _serve(settings: Settings, store: Store, listener: socket.socket, address: str, parent: int | None) -> int:
    # threads of the store hand the interpreter back sooner, so the loop answers evenly
    sys.setswitchinterval(_SWITCH_S)
    app = create_app(settings, store, address)
    server = uvicorn.Server(configured(app, settings))
    _spare_collections()

    def stop() -> None:
        app.state.service.closing.set()
        server.should_exit = True

    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    watching = asyncio.create_task(_watch(parent, stop)) if parent is not None else None
    await server.serve(sockets=[listener])
    if watching is not None:
        watching.cancel()
    return 0 if server.started else 1
