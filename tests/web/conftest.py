"""Fixtures of the API's tests: a server with its store, a worker played on it, keys of two tenants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api_server import Server, serving
from played import PlayedWorker
from tether.store import Store, open_store
from tether.store.access_rows import KeyRow, NewKey
from tether.web.access import SCOPES, new_token


@dataclass(kw_only=True)
class Api:
    """A running server, the store under it, and clients with keys of one's choice."""

    server: Server
    store: Store
    folder: Path
    clients: list[httpx2.Client] = field(default_factory=list)

    def client(self, tenant: str = "default", scopes: tuple[str, ...] = ("submit", "read", "approve", "admin")) -> httpx2.Client:
        """An HTTP client with a new key."""
        return self.with_token(self.key(tenant, scopes)[1])

    def key(self, tenant: str, scopes: tuple[str, ...], **fields: Any) -> tuple[KeyRow, str]:
        """A new key: its row and its token."""
        token, prefix, hashed = new_token()
        assert set(scopes) <= set(SCOPES)
        said = {"tenant": tenant, "name": f"key of {tenant}", "created_by": "test", **fields}
        return self.store.add_key(NewKey(prefix=prefix, hash=hashed, scopes=scopes, **said)), token

    def with_token(self, token: str | None) -> httpx2.Client:
        """An HTTP client with that key, or without any."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        made = httpx2.Client(base_url=self.server.url, headers=headers, timeout=30, trust_env=False)
        self.clients.append(made)
        return made

    def close(self) -> None:
        """Close what was opened."""
        for client in self.clients:
            client.close()
        self.store.close()


@pytest.fixture(scope="module")
def make_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """Starts servers with configurations of one's choice; they end with the module."""
    open_ones: list[tuple[Any, Api]] = []

    def make(store_url: str | None = None, **sections: Any) -> Api:
        folder = tmp_path_factory.mktemp("api")
        url = store_url or f"sqlite:///{folder}/tether.db"
        store = open_store(url, migrate=True)
        running = serving(url, folder, **sections)
        api = Api(server=running.__enter__(), store=store, folder=folder)
        open_ones.append((running, api))
        return api

    yield make
    for running, api in open_ones:
        for client in api.clients:
            client.close()
        running.__exit__(None, None, None)
        api.store.close()


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api]) -> Api:
    """One server on SQLite for the tests of a module."""
    return make_api()


@pytest.fixture(scope="module")
def worker(api: Api) -> PlayedWorker:
    """A played worker on its store."""
    return PlayedWorker(api.store)


@pytest.fixture(scope="module")
def http(api: Api) -> httpx2.Client:
    """A client with every scope in tenant default."""
    return api.client()
