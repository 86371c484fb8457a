"""One HTTP request to a webhook's target: never inward, no redirects, no more of the answer than is shown."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tether.errors import TetherError
from tether.gateway.addresses import Denied, Target, resolve
from tether.web.targets import check_url, options_of

if TYPE_CHECKING:
    from tether.config import WebhookSettings

__all__ = ["NotSent", "Sender"]

_MOST_READ = 500


class NotSent(TetherError):
    """The target gave no answer; why is in the message."""

    code = "not_sent"


class Sender:
    """Sends at most `at_once` requests at the same time; imported when the first one is due, as its library is large."""

    def __init__(self, settings: WebhookSettings, at_once: int) -> None:
        self._settings = settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        connector = aiohttp.TCPConnector(resolver=_CheckedResolver(settings), use_dns_cache=False, limit=at_once)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """(HTTP status, the beginning of what it said). Raises ValidationError for a target that leads inward, NotSent."""
        await check_url(url, self._settings)
        try:
            async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as response:
                said = await response.content.read(_MOST_READ)
                return response.status, said.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


class _CheckedResolver(AbstractResolver):
    """Gives only addresses that were checked, so what is checked is what is connected to."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._options = options_of(settings)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Raises OSError, which aiohttp understands, for what may not be reached."""
        try:
            found = await resolve(Target(host=host.lower().rstrip("."), port=port), self._options)
        except Denied as error:
            raise OSError(str(error)) from None
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Nothing to close."""
