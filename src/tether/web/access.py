"""Who asks, and what they may: keys by hash, scopes, tenants, rates. Without a valid key nothing of /v1 is answered."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from tether.errors import NotAuthorised
from tether.store.access_rows import KeyRow
from tether.web.problems import Refused
from tether.web.rates import Rates

if TYPE_CHECKING:
    from tether.store import Store
    from tether.web.service import Threads

__all__ = ["SCOPES", "Access", "Caller", "caller_of", "digest", "may", "new_token"]

#: admin includes submit, read and approve; tenants:any stands for itself.
SCOPES = ("submit", "read", "approve", "admin", "tenants:any")
_ADMIN = frozenset({"submit", "read", "approve", "admin"})
_PREFIX = "tth_"
_SHOWN = 12
_REMEMBERED_S = 1.0
_MOST_REMEMBERED = 10_000
_LONGEST_TOKEN = 200


def new_token() -> tuple[str, str, str]:
    """A new key, the part of it that is shown, and its hash."""
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, token[:_SHOWN], digest(token)


def digest(token: str) -> str:
    """What is stored of a key. Keys are 256 random bits, so a plain hash cannot be guessed back."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks: a key, with the tenant it belongs to. address: of the client, for the audit log."""

    key_id: str
    name: str
    tenant: str
    scopes: frozenset[str]
    address: str = ""

    @property
    def sees(self) -> str | None:
        """The tenant whose rows it sees; None: all."""
        return None if "tenants:any" in self.scopes else self.tenant

    def actor(self, by: str = "") -> str:
        """For journal and audit log: who, and with which key."""
        return f"{by} (key {self.name})" if by else f"key {self.name}"


@dataclass(frozen=True, kw_only=True)
class _Remembered:
    row: KeyRow | None
    until: float


class Access:
    """Finds the key of a token, remembered for a second (so long a revoked one may still work), and counts its requests."""

    def __init__(self, store: Store, threads: Threads, rate_per_s: int) -> None:
        self._store = store
        self._threads = threads
        self._remembered: dict[str, _Remembered] = {}
        self._used: dict[str, int] = {}
        self._asking: dict[str, asyncio.Future[KeyRow | None]] = {}
        self.rates = Rates(rate_per_s)

    async def caller(self, token: str, address: str) -> Caller | None:
        """The caller with this token; None when it opens nothing. Raises Refused over the key's rate."""
        if not token.isascii() or len(token) > _LONGEST_TOKEN:
            return None
        row = await self._row(digest(token))
        return None if row is None else self.admit(row, address)

    async def caller_of_key(self, key_id: str, address: str) -> Caller | None:
        """The caller with the key of that id (a login); None when it was revoked or expired."""
        row = await self._row(key_id)
        return None if row is None else self.admit(row, address)

    def admit(self, row: KeyRow, address: str) -> Caller | None:
        """Check the key's validity and rate, and note its use."""
        now_ms = time.time_ns() // 1_000_000
        if not row.valid(now_ms):
            return None
        wait_s = self.rates.take(row.id, row.rate_per_s)
        if wait_s > 0:
            raise Refused("rate_limited", "this key asks too often; wait", {"Retry-After": str(int(wait_s) + 1)})
        self._used[row.id] = now_ms
        scopes = frozenset(row.scopes) | (_ADMIN if "admin" in row.scopes else frozenset())
        return Caller(key_id=row.id, name=row.name, tenant=row.tenant, scopes=scopes, address=address)

    def forget(self) -> None:
        """Ask the store again about every key."""
        self._remembered.clear()

    def take_used(self) -> Mapping[str, int]:
        """Key id -> last use since the last call."""
        used, self._used = self._used, {}
        return used

    async def _row(self, name: str) -> KeyRow | None:
        """By hash or by id; concurrent questions for the same one ask the store once."""
        found = self._remembered.get(name)
        if found is not None and time.monotonic() < found.until:
            return found.row
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.ensure_future(self._ask(name))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _ask(self, name: str) -> KeyRow | None:
        if name.startswith("key_"):
            row = await self._threads.call(_by_id, self._store, name)
        else:
            row = await self._threads.call(self._store.key_by_hash, name)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[name] = _Remembered(row=row, until=time.monotonic() + _REMEMBERED_S)
        return row


def _by_id(store: Store, key_id: str) -> KeyRow | None:
    from tether.errors import NotFound

    try:
        return store.key(key_id)
    except NotFound:
        return None


def caller_of(request: Request) -> Caller:
    """Who sent this request; the gate let nobody in without."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    if caller is None:
        raise Refused("not_authenticated", "send a key: Authorization: Bearer tth_…")
    return caller


def may(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who must have one of these scopes."""
    wanted = frozenset(scopes)

    async def check(request: Request) -> Caller:
        caller = caller_of(request)
        if not caller.scopes & wanted:
            raise NotAuthorised(f"this key has {_words(caller.scopes)}, and this needs {' or '.join(sorted(wanted))}")
        return caller

    return check


def _words(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "no scope"
