"""Where the proxy may go: nothing inward, however it is written."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from tether.gateway.addresses import Denied, Target, check_target, is_public, matches, resolve
from tether.gateway.heads import BadHead, parse_request, parse_response
from tether.gateway.options import EgressOptions

INWARD = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:1:1:1:1:80ff:fffe",
    "2001:db8::1",
]


@pytest.mark.parametrize("text", INWARD)
def test_inward_addresses_are_not_public(text: str) -> None:
    """Loopback, private, link-local, metadata, multicast and reserved addresses are refused, also inside an IPv6 address."""
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are(text: str) -> None:
    """Addresses of the public Internet may be reached."""
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    ["0x7f000001", "2130706433", "0177.0.0.1", "127.1", "0x7f.1", "localhost", "0", "::1", "::ffff:7f00:1", "0xa9fea9fe"],
)
def test_encoded_literals_are_what_they_mean(host: str) -> None:
    """Hexadecimal, decimal, octal and shortened forms of an inward address are refused."""
    with pytest.raises(Denied):
        asyncio.run(resolve(Target(host=host, port=80), EgressOptions()))


def test_private_hosts_only_when_listed() -> None:
    """A private host:port passes when it is listed, on its port alone."""
    options = EgressOptions(allow_private=("127.0.0.1:8000", "[::1]:9"))
    target = Target(host="127.0.0.1", port=8000)
    check_target(target, options, ())
    assert asyncio.run(resolve(target, options)) == [(2, "127.0.0.1")]
    check_target(Target(host="::1", port=9), options, ())
    with pytest.raises(Denied):
        check_target(Target(host="127.0.0.1", port=8001), options, ())
    with pytest.raises(Denied):
        asyncio.run(resolve(Target(host="127.0.0.1", port=80), options))


def test_hosts_match_with_their_subdomains() -> None:
    """A rule for a host covers what is under it and nothing that only looks alike."""
    assert matches("a.example.com", ["Example.com."])
    assert matches("a.example.com", ["*.example.com"])
    assert not matches("notexample.com", ["example.com"])
    for options, prohibited in (
        (EgressOptions(deny=("example.com",)), ()),
        (EgressOptions(), ("example.com",)),
        (EgressOptions(allow=("other.org",)), ()),
        (EgressOptions(ports=(443,)), ()),
    ):
        with pytest.raises(Denied):
            check_target(Target(host="www.example.com", port=80), options, prohibited)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join((line, *headers, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    "raw",
    [
        head("GET / HTTP/1.1"),
        head("GET https://x/ HTTP/1.1"),
        head("GET ftp://x/ HTTP/1.1"),
        head("GET http:///x HTTP/1.1"),
        head("GET http://x:99999/ HTTP/1.1"),
        head("GET http://x%00y/ HTTP/1.1"),
        head("GET http://a b/ HTTP/1.1"),
        head("CONNECT x HTTP/1.1"),
        head("CONNECT x:0 HTTP/1.1"),
        head("CONNECT [fe80::1%eth0]:443 HTTP/1.1"),
        head("GET http://x/ HTTP/2"),
        head("POST http://x/ HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        head("POST http://x/ HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        head("POST http://x/ HTTP/1.1", "Content-Length: +1"),
        head("POST http://x/ HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
        head("GET http://x/ HTTP/1.1", "A: b\nX: y"),
        head("GET http://x/ HTTP/1.1", " folded: 1"),
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_ambiguous_requests_are_refused(raw: bytes) -> None:
    """What is not exactly one proxy request, or could be read as two, is refused."""
    with pytest.raises(BadHead):
        parse_request(raw)


def test_no_hop_by_hop_header_gets_through() -> None:
    """The server sees end-to-end headers, its own Host, and that one request is all there will be."""
    got = parse_request(
        head(
            "POST http://user:pw@X.Example:8080/a?b=1#c HTTP/1.1",
            "Host: other",
            "Proxy-Authorization: Basic dDp0dGhfMQ==",
            "Proxy-Connection: keep-alive",
            "Connection: close, X-Secret",
            "X-Secret: 1",
            "Upgrade: h2c",
            "TE: trailers",
            "Content-Length: 3",
            "Accept: */*",
        )
    )
    assert (got.token, got.target, got.length) == ("tth_1", Target(host="x.example", port=8080), 3)
    assert got.outgoing().decode().split("\r\n") == [
        "POST /a?b=1 HTTP/1.1",
        "Host: x.example:8080",
        "Content-Length: 3",
        "Accept: */*",
        "Connection: close",
        "",
        "",
    ]
    answer = parse_response(
        head("HTTP/1.1 200 OK", "Keep-Alive: 1", "Connection: keep-alive", "Transfer-Encoding: chunked"), "GET"
    )
    assert answer.length is None
    assert answer.outgoing() == head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Connection: close")
