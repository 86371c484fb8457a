"""The way to the web through a real gateway process: counted before it connects, bounded, and never inward."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from rig import Attempt, Rig, eventually, running
from tether.testing import WebSite


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    """A small web site."""
    with WebSite() as made:
        yield made


@pytest.fixture(scope="module")
def rig(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway whose attempts may reach the site, though it is on loopback."""
    egress = {
        "allow_private": [f"127.0.0.1:{site.port}", f"localhost:{site.port}", "127.0.0.1:1"],
        "timeout_s": 1.5,
        "max_bytes": 300_000,
    }
    egress["deny"] = ["denied.example"]
    folder = tmp_path_factory.mktemp("egress")
    with running(folder, "http://127.0.0.1:9/v1", egress=egress, web_prices={"127.0.0.1": 5_000_000}) as made:
        yield made


def client(attempt: Attempt, **more: Any) -> httpx.Client:
    return httpx.Client(proxy=attempt.proxy, timeout=10, **more)


def get(attempt: Attempt, url: str, **more: Any) -> httpx.Response:
    with client(attempt) as http:
        return http.get(url, **more)


def talk(port: int, data: bytes) -> bytes:
    """Everything the proxy says to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(data)
        parts: list[bytes] = []
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def authorised(attempt: Attempt) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f"t:{attempt.token}".encode()).decode()


def test_plain_requests_are_counted_exactly(rig: Rig, site: WebSite) -> None:
    """Each plain request counts, also over what the client thinks is one connection; the limit is never passed."""
    attempt = rig.attempt(max_web_requests=3)
    with client(attempt) as http:
        answers = [http.get(f"{site.url}/article?{attempt.key}") for _ in range(5)]
    assert [a.status_code for a in answers] == [200] * 3 + [402] * 2
    assert "harbour clock" in answers[0].text
    assert sum(attempt.key in visit for visit in site.visits) == attempt.usage["web_requests"] == 3
    ended = attempt.settled(3)
    assert {(e["outcome"], e["status"], e["method"], e["host"], e["nanousd"]) for e in ended} == {
        ("ok", 200, "GET", "127.0.0.1", 5_000_000)
    }
    assert attempt.usage["usd"] == 0.015
    assert rig.wait_told(lambda p: p["op"] == "web" and p["key"] == attempt.key)["received_bytes"] > 500
    assert eventually(lambda: attempt.events("call_refused"))[0]["limit"] == "max_web_requests"


def test_redirects_are_requests_of_their_own(rig: Rig, site: WebSite) -> None:
    """Every hop of a redirect passes the proxy again: it is counted, and one that leads inward is refused."""
    attempt = rig.attempt()
    with client(attempt, follow_redirects=True) as http:
        assert http.get(f"{site.url}/redirect/2").status_code == 200
        assert attempt.usage["web_requests"] == 3
        away = http.get(f"{site.url}/away", params={"to": "http://169.254.169.254/latest/meta-data/"})
    assert (away.status_code, away.headers["x-tether-refusal"]) == (403, "prohibited_host")
    assert attempt.usage["web_requests"] == 4


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1/",
        "http://localhost/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://10.0.0.1/",
        "http://denied.example/",
        "http://www.denied.example/",
        "http://127.0.0.1:22/",
        "http://no-such-host.invalid/",
    ],
)
def test_nothing_leads_inward(rig: Rig, url: str) -> None:
    """Addresses that are not on the public Internet, denied hosts and other ports are refused, by URL and by CONNECT."""
    attempt = rig.attempt()
    host = urlsplit(url).netloc
    target = host if ":" in host.rpartition("]")[2] else f"{host}:80"
    for line in (f"GET {url}", f"CONNECT {target}"):
        assert talk(attempt.proxy_port, f"{line} HTTP/1.1\r\n{authorised(attempt)}\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")
    assert attempt.usage["web_requests"] == 0


def test_prohibited_hosts_are_the_tasks_own(rig: Rig, site: WebSite) -> None:
    """A host the task prohibits is refused to it and to nobody else."""
    attempt = rig.admit(rig.lease(), prohibited=["localhost"])
    assert get(attempt, f"http://localhost:{site.port}/").status_code == 403
    assert get(attempt, f"{site.url}/").status_code == 200


def test_the_proxy_wants_the_attempts_token(rig: Rig, site: WebSite) -> None:
    """Without the token, or with another attempt's, the proxy does nothing."""
    mine, other = rig.attempt(), rig.attempt()
    with httpx.Client(proxy=mine.proxy.replace(mine.token, other.token)) as http:
        assert http.get(f"{site.url}/?{mine.key}").status_code == 407
    with httpx.Client(proxy=f"http://127.0.0.1:{mine.proxy_port}") as http:
        assert http.get(f"{site.url}/?{mine.key}").status_code == 407
    assert not [v for v in site.visits if mine.key in v]


def test_bodies_go_up_and_come_down(rig: Rig, site: WebSite) -> None:
    """Plain and chunked bodies are carried whole; a second request smuggled behind the first one is not."""
    attempt = rig.attempt()
    with client(attempt) as http:
        assert http.post(f"{site.url}/json", content=b"x" * 100_000).json()["harbour"]["clock"] == 1887
        assert http.post(f"{site.url}/json", content=iter([b"ab", b"c" * 70_000])).status_code == 200
        assert http.head(f"{site.url}/article").status_code == 200
        assert http.post(f"{site.url}/json", content=b"x", headers={"Expect": "100-continue"}).status_code == 200
    first = f"GET {site.url}/json?{attempt.key}-1 HTTP/1.1\r\n{authorised(attempt)}\r\n\r\n"
    answer = talk(attempt.proxy_port, (first + first.replace("-1", "-2")).encode())
    assert answer.count(b"HTTP/1.1 200") == 1
    assert [v for v in site.visits if f"{attempt.key}-" in v] == [f"GET /json?{attempt.key}-1"]


def test_time_and_size_are_bounded(rig: Rig, site: WebSite) -> None:
    """A request that never ends is ended, one that is too large is broken off visibly, and both are counted and journaled."""
    attempt = rig.attempt()
    assert get(attempt, f"{site.url}/hang").status_code == 504
    with pytest.raises(httpx.HTTPError), client(attempt) as http:
        http.get(f"{site.url}/large/10000000")
    assert sorted(e["outcome"] for e in attempt.settled(2)) == ["timeout", "too_large"]
    assert attempt.usage["web_requests"] == 2


def test_tunnels_count_connections(rig: Rig, site: WebSite) -> None:
    """CONNECT carries bytes both ways and counts one connection, whatever goes through it."""
    attempt = rig.attempt(max_web_requests=1)
    with socket.create_connection(("127.0.0.1", attempt.proxy_port), timeout=10) as sock:
        sock.sendall(f"CONNECT 127.0.0.1:{site.port} HTTP/1.1\r\n{authorised(attempt)}\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        for _ in range(2):
            sock.sendall(b"GET /json HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b'"clock": 1887' in eventually(lambda: sock.recv(65536))
    (ended,) = attempt.settled(1)
    assert (ended["method"], ended["outcome"]) == ("CONNECT", "ok")
    assert ended["sent_bytes"] > 50
    assert get(attempt, f"{site.url}/").status_code == 402


def test_a_server_that_is_down_does_not_count(rig: Rig) -> None:
    """A connection that cannot be made is an error to the agent and gives its count back."""
    attempt = rig.attempt()
    assert get(attempt, "http://127.0.0.1:1/").status_code == 502
    assert attempt.settled(1)[0]["outcome"] == "error"
    assert attempt.usage["web_requests"] == 0


def test_revoking_breaks_tunnels(rig: Rig, site: WebSite) -> None:
    """A revoked attempt's tunnels break at once and are settled."""
    attempt = rig.attempt()
    with socket.create_connection(("127.0.0.1", attempt.proxy_port), timeout=10) as sock:
        sock.sendall(f"CONNECT 127.0.0.1:{site.port} HTTP/1.1\r\n{authorised(attempt)}\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        rig.send({"op": "revoke", "key": attempt.key, "why": "over"})
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1000) == b""
    attempt.settled(1)


@pytest.mark.parametrize(
    "raw",
    [b"\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET http://x/ HTTP/1.1\r\nA: " + b"a" * 70_000],
)
def test_nonsense_is_answered_and_dropped(rig: Rig, raw: bytes) -> None:
    """What is no proxy request gets a 400 and hurts nobody."""
    attempt = rig.attempt()
    assert talk(attempt.proxy_port, raw).startswith(b"HTTP/1.1 400")


def test_many_at_once_never_pass_the_limit(rig: Rig, site: WebSite) -> None:
    """30 concurrent requests against max_web_requests=7: exactly 7 reach the site."""
    attempt = rig.attempt(max_web_requests=7)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(get(attempt, f"{site.url}/?{attempt.key}").status_code))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(402)) == (7, 23)
    assert sum(attempt.key in visit for visit in site.visits) == 7
