"""Heads of HTTP/1 messages as the proxy reads and rewrites them: strict where two readers might disagree."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tether.gateway.addresses import Target

__all__ = ["BadHead", "RequestHead", "ResponseHead", "parse_request", "parse_response", "read_head"]

MOST_HEAD_BYTES = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_HOST = re.compile(r"[a-z0-9_.:-]+\Z")
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade")
)

Headers = list[tuple[str, str]]


class BadHead(Exception):
    """Not an HTTP/1 head that can be passed on safely."""


@dataclass(frozen=True, kw_only=True)
class RequestHead:
    """A proxy request: CONNECT, or a method with an absolute URL. length: body bytes, None when chunked."""

    method: str
    target: Target
    path: str
    headers: Headers
    length: int | None
    token: str
    expects_continue: bool

    def outgoing(self) -> bytes:
        """The head for the server: origin form, end-to-end headers, one request per connection."""
        kept = [(n, v) for n, v in _end_to_end(self.headers) if n.lower() not in ("host", "expect")]
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.target.authority}"]
        return _encode([*lines, *(f"{n}: {v}" for n, v in kept), "Connection: close"])


@dataclass(frozen=True, kw_only=True)
class ResponseHead:
    """A server's answer. length: body bytes; None: until the connection ends (or the chunks do)."""

    status: int
    line: str
    headers: Headers
    length: int | None

    def outgoing(self) -> bytes:
        """The head for the client: end-to-end headers, and the end of the connection announced."""
        return _encode([self.line, *(f"{n}: {v}" for n, v in _end_to_end(self.headers)), "Connection: close"])


async def read_head(reader: asyncio.StreamReader) -> bytes | None:
    """One head with its empty line, or None when the connection ended before it. Raises BadHead when it is too long."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise BadHead("the head is too long") from None


def parse_request(head: bytes) -> RequestHead:
    """Raises BadHead."""
    line, headers = _split(head)
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.match(parts[0]) or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadHead("not a request")
    method = parts[0]
    target, path = _authority(parts[1]) if method == "CONNECT" else _absolute(parts[1])
    length = _length(headers)
    return RequestHead(
        method=method,
        target=target,
        path=path,
        headers=headers,
        length=0 if length is None and not _chunked(headers) else length,
        token=_token(_one(headers, "proxy-authorization")),
        expects_continue=_one(headers, "expect").lower() == "100-continue",
    )


def parse_response(head: bytes, method: str) -> ResponseHead:
    """Raises BadHead."""
    line, headers = _split(head)
    parts = line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not re.fullmatch(r"[1-5]\d\d", parts[1]):
        raise BadHead("the server's answer is not HTTP/1")
    status = int(parts[1])
    empty = method == "HEAD" or status in (204, 304) or status < 200
    return ResponseHead(status=status, line=line, headers=headers, length=0 if empty else _length(headers))


def _split(head: bytes) -> tuple[str, Headers]:
    text = head.decode("latin-1")
    if "\0" in text or "\n" in text.replace("\r\n", "") or "\r" in text.replace("\r\n", ""):
        raise BadHead("a bare CR, LF or NUL in the head")
    line, *rest = text.removesuffix("\r\n\r\n").split("\r\n")
    headers: Headers = []
    for row in rest:
        name, colon, value = row.partition(":")
        if not colon or not _TOKEN.match(name):
            raise BadHead("a header without a name")
        headers.append((name, value.strip(" \t")))
    return line, headers


def _authority(text: str) -> tuple[Target, str]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise BadHead("CONNECT needs host:port")
    return _target(host.removeprefix("[").removesuffix("]"), int(port)), ""


def _absolute(text: str) -> tuple[Target, str]:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise BadHead("not a URL") from None
    if url.scheme.lower() != "http" or not url.hostname:
        raise BadHead("this is a proxy: send an absolute http:// URL, or CONNECT for https")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return _target(url.hostname, 80 if port is None else port), path


def _target(host: str, port: int) -> Target:
    name = host.lower().removesuffix(".")
    if not _HOST.match(name) or not 0 < port < 65536:
        raise BadHead("not a host and port")
    return Target(host=name, port=port)


def _all(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def _one(headers: Headers, name: str) -> str:
    found = _all(headers, name)
    if len(found) > 1:
        raise BadHead(f"{name} is there twice")
    return found[0] if found else ""


def _chunked(headers: Headers) -> bool:
    return bool(_all(headers, "transfer-encoding"))


def _length(headers: Headers) -> int | None:
    """Body bytes, or None when the head does not say; whoever reads two framings might read two requests."""
    coding, length = _one(headers, "transfer-encoding"), _one(headers, "content-length")
    if coding and (length or coding.lower() != "chunked"):
        raise BadHead("ambiguous length of the body")
    if length and not re.fullmatch(r"\d{1,18}", length):
        raise BadHead("not a length of a body")
    return int(length) if length else None


def _token(header: str) -> str:
    """The token of a Proxy-Authorization: a bearer, or the password of HTTP_PROXY=http://user:token@…"""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return value.strip() if scheme.lower() == "bearer" else ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password or user


def _end_to_end(headers: Headers) -> Headers:
    named = {name.strip().lower() for value in _all(headers, "connection") for name in value.split(",")} - {
        "content-length",
        "host",
    }
    dropped = _HOP_BY_HOP | (named - {"transfer-encoding"})
    return [(n, v) for n, v in headers if n.lower() not in dropped]


def _encode(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
