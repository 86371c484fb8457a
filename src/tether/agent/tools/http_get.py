"""One GET over the attempt's proxy, bounded in time, size and redirects. Never around it: there the requests are counted."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from tether.agent.tools.arguments import ToolProblem

__all__ = ["Page", "get"]

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept-Encoding": "gzip", "Accept-Language": "en,*;q=0.5", "Connection": "close"}
_AGENT = "Mozilla/5.0 (compatible; Tether)"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a GET brought: the address it ended at, HTTP status, headers in lower case, at most the bytes asked for."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool

    @property
    def kind(self) -> str:
        """The media type, such as text/html."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def get(url: str, *, accept: str, most_bytes: int, timeout_s: float) -> Page:
    """GET `url` and follow at most 5 redirects, each of which is another request; raises ToolProblem."""
    for _ in range(_MOST_REDIRECTS + 1):
        page = _get_one(url, accept, most_bytes, timeout_s)
        target = page.headers.get("location")
        if page.status not in _REDIRECTS or not target:
            return page
        url = urljoin(url, target)
    raise ToolProblem(f"more than {_MOST_REDIRECTS} redirects, the last one to {url[:200]}")


def _get_one(url: str, accept: str, most_bytes: int, timeout_s: float) -> Page:
    connection, target, host = _connection(url, timeout_s)
    try:
        headers = {"Host": host, "User-Agent": _AGENT, "Accept": accept, **_HEADERS}
        if not isinstance(connection, http.client.HTTPSConnection):
            headers |= _proxy("http").headers
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        body, cut = _read(answer, fields.get("content-encoding", ""), most_bytes)
        return Page(url=url, status=answer.status, headers=fields, body=body, cut=cut)
    except (OSError, http.client.HTTPException, zlib.error) as error:
        raise ToolProblem(f"{url[:200]} cannot be fetched: {_said(error)}") from None
    finally:
        connection.close()


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _connection(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str, str]:
    """A connection to the proxy, the request target and the Host header for `url`."""
    scheme, host, port = _address(url)
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{_query(parts.query)}" if parts.query else "")
    way = _proxy(scheme)
    shown = f"[{host}]" if ":" in host else host
    place = shown if port == (443 if scheme == "https" else 80) else f"{shown}:{port}"
    if scheme == "http":
        return http.client.HTTPConnection(way.host, way.port, timeout=timeout_s), f"http://{place}{path}", place
    secure = http.client.HTTPSConnection(way.host, way.port, timeout=timeout_s, context=_tls())
    secure.set_tunnel(host, port, headers=way.headers)
    return secure, path, place


def _query(query: str) -> str:
    return quote(query, safe="/%:@!$&'()*+,;=~-._?[]")


def _address(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        ascii_host = host if ":" in host else host.encode("idna").decode()
    except ValueError:
        raise ToolProblem(f"{url[:200]!r} is not an address") from None
    if scheme not in ("http", "https") or not ascii_host:
        raise ToolProblem(f"{url[:200]!r} is not a web address; it must start with http:// or https://")
    return scheme, ascii_host, port or (443 if scheme == "https" else 80)


@dataclass(frozen=True, kw_only=True)
class _Proxy:
    """The way out; headers: what it wants to see (a plain request carries them itself, a tunnel sends them first)."""

    host: str
    port: int
    headers: dict[str, str]


def _proxy(scheme: str) -> _Proxy:
    name = f"{scheme.upper()}_PROXY"
    parts = urlsplit(os.environ.get(name) or os.environ.get(name.lower()) or "")
    if not parts.hostname or not parts.port:
        raise ToolProblem("there is no way to the web from here")
    headers: dict[str, str] = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return _Proxy(host=parts.hostname, port=parts.port, headers=headers)


def _tls() -> ssl.SSLContext:
    tls = ssl.create_default_context()
    if not tls.get_ca_certs():
        # A system without certificates of its own: take those that came with the package of an HTTP library.
        try:
            import certifi
        except ImportError:
            return tls
        tls.load_verify_locations(certifi.where())
    return tls


def _read(answer: http.client.HTTPResponse, encoding: str, most_bytes: int) -> tuple[bytes, bool]:
    """The body, unpacked, up to `most_bytes`, and whether there was more; a packed bomb is never unpacked further."""
    packed = encoding.strip().lower() in ("gzip", "x-gzip")
    unpack = zlib.decompressobj(wbits=31) if packed else None
    body = bytearray()
    while len(body) <= most_bytes:
        chunk = answer.read1(65_536)
        if not chunk:
            return bytes(body), False
        while chunk and len(body) <= most_bytes:
            body += unpack.decompress(chunk, most_bytes + 1 - len(body)) if unpack else chunk
            chunk = unpack.unconsumed_tail if unpack else b""
    return bytes(body[:most_bytes]), True
