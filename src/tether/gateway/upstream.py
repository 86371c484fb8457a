"""Sending one call to a model's server, once; a failure tells whether the server may have worked (and billed) for it."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from yarl import URL

from tether.gateway.options import GatewayOptions, ModelOptions, RetryOptions

__all__ = ["RETRYABLE", "NotSent", "Unanswered", "Upstreams", "backoff_s", "url_of"]

RETRYABLE = frozenset((408, 429, 500, 502, 503, 504, 529))
_PATHS = {"chat": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings", "messages": "/messages"}
_PASSED_UP = ("accept", "anthropic-version", "anthropic-beta", "openai-beta", "user-agent")
_ONLY_OPENAI = ("api.openai.com", ".openai.azure.com")
_ONLY_ANTHROPIC = ("api.anthropic.com",)


class NotSent(Exception):
    """The server was not reached: nothing was spent."""


class Unanswered(Exception):
    """The request went out and no whole answer came back: the server may have worked for it."""


def url_of(model: ModelOptions, route: str) -> str:
    """The address of a route at the model's server."""
    base = model.upstream.rstrip("/")
    if model.kind == "anthropic" and not base.endswith("/v1"):
        base += "/v1"
    return base + _PATHS[route]


def speaks(model: ModelOptions, route: str) -> bool:
    """Whether the server has this route; servers other than the two vendors' own often have both APIs, so they are asked."""
    host = urlsplit(model.upstream).hostname or ""
    closed = _ONLY_OPENAI if route == "messages" else _ONLY_ANTHROPIC
    return not host.endswith(closed)


def is_openai(model: ModelOptions) -> bool:
    """Whether the server is OpenAI's own, which wants max_completion_tokens where the others know max_tokens."""
    return (urlsplit(model.upstream).hostname or "").endswith(_ONLY_OPENAI)


def backoff_s(retry: RetryOptions, tries: int, retry_after: str | None) -> float:
    """Seconds until the next try: exponential with full jitter, or what the server asked for, capped."""
    asked = _retry_after_s(retry_after)
    if asked is not None:
        return min(max(asked, 0.0), retry.retry_after_s)
    longest = min(retry.first_s * 2 ** (tries - 1), retry.longest_s)
    return random.uniform(longest / 2, longest)


def _retry_after_s(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def _headers(model: ModelOptions, route: str, given: Mapping[str, str]) -> dict[str, str]:
    out = {name: given[name] for name in _PASSED_UP if name in given}
    out |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if route == "messages":
        out.setdefault("anthropic-version", "2023-06-01")
        out["x-api-key"] = model.key
    if model.key and (route != "messages" or model.kind != "anthropic"):
        out["Authorization"] = f"Bearer {model.key}"
    return out | dict(model.headers)


class Upstreams:
    """One connection pool for all servers; made inside the event loop."""

    def __init__(self, options: GatewayOptions) -> None:
        self._connect_s = options.connect_s
        self._environment = getproxies_environment()
        self._urls: dict[tuple[str, str], URL] = {}
        self._proxies: dict[str, str | None] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            read_bufsize=1 << 18,
        )

    def _url(self, model: ModelOptions, route: str) -> URL:
        key = (model.alias, route)
        if key not in self._urls:
            self._urls[key] = URL(url_of(model, route))
        return self._urls[key]

    def _proxy(self, model: ModelOptions) -> str | None:
        """The proxy of the worker's environment for this server, looked up once."""
        if model.upstream not in self._proxies:
            url = urlsplit(model.upstream)
            bypassed = proxy_bypass(url.hostname or "")
            self._proxies[model.upstream] = None if bypassed else self._environment.get(url.scheme)
        return self._proxies[model.upstream]

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def send(
        self, model: ModelOptions, route: str, body: bytes, given: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The server's answer, its body still to be read. Raises NotSent, Unanswered."""
        timeout = aiohttp.ClientTimeout(total=model.timeout_s, sock_connect=self._connect_s)
        try:
            response = await self._session.post(
                self._url(model, route),
                data=body,
                headers=_headers(model, route, given),
                timeout=timeout,
                allow_redirects=False,  # a redirect would carry the key elsewhere
                proxy=self._proxy(model),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, ssl.SSLError) as error:
            raise NotSent(_reason(error)) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unanswered(_reason(error)) from None
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    @staticmethod
    async def more(response: aiohttp.ClientResponse) -> bytes:
        """What came of the body since, nothing at its end. Raises Unanswered when it ends too early.

        No generator, as most of what passes here are streams in very small pieces.
        """
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unanswered(_reason(error)) from None

    @classmethod
    async def whole(cls, response: aiohttp.ClientResponse, most: int) -> bytes:
        """The whole body, up to `most` bytes. Raises Unanswered when it is cut or larger."""
        parts: list[bytes] = []
        size = 0
        while chunk := await cls.more(response):
            size += len(chunk)
            if size > most:
                raise Unanswered(f"the answer is larger than {most:,} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it did not answer in time"
    return f"{type(error).__name__}: {error}"[:300]
