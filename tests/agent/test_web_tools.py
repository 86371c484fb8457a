"""web_fetch and web_search over a proxy, against a real web site."""

from __future__ import annotations

import gzip
import http.server
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tether.agent import tools
from tether.testing import WebSite

HOST = "http://harbour.test"  # resolves nowhere: only a request over the proxy gets there


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebSite]:
    """The site, which also stands as the HTTP proxy of this process."""
    with WebSite() as site:
        monkeypatch.setenv("HTTP_PROXY", site.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost,harbour.test")
        yield site


class Served:
    """A server in a thread; its port."""

    def __init__(self, handler: Any, kind: Any = http.server.ThreadingHTTPServer) -> None:
        self._server = kind(("127.0.0.1", 0), handler)

    def __enter__(self) -> int:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self._server.server_address[1]

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def fetch(url: str, **options: Any) -> dict[str, Any]:
    return tools.run(tools.BUILTIN["web_fetch"].entry, ".", {"url": url}, options)


def search(query: str, **options: Any) -> dict[str, Any]:
    return tools.run(tools.BUILTIN["web_search"].entry, ".", {"query": query}, options)


def test_a_page_comes_as_readable_text(site: WebSite) -> None:
    """Title and article text without navigation and footer; the request went over the proxy whatever NO_PROXY says."""
    answer = fetch(f"{HOST}/article")
    assert answer["ok"], answer
    page = answer["result"]
    assert (page["title"], page["url"], page["status"], page["cut"]) == ("The harbour clock", f"{HOST}/article", 200, False)
    assert "loses four seconds" in page["text"]
    assert "Imprint" not in page["text"]
    assert len(site.visits) == 1


def test_a_page_without_an_article_shows_its_words(site: WebSite) -> None:
    """Short pages and lists are not lost because no article is found in them."""
    assert site
    assert "small harbour" in fetch(f"{HOST}/")["result"]["text"]
    assert "crème brûlée" in fetch(f"{HOST}/latin1")["result"]["text"]
    assert '"clock": 1887' in fetch(f"{HOST}/json")["result"]["text"]
    assert fetch(f"{HOST}/bytes")["ok"]


def test_redirects_are_followed_five_times_each_a_request(site: WebSite) -> None:
    """Five redirects are followed and counted; the sixth, a loop, and a redirect to something else than the web are not."""
    assert fetch(f"{HOST}/redirect/5")["result"]["url"] == f"{HOST}/article"
    assert len(site.visits) == 6
    assert "5 redirects" in fetch(f"{HOST}/redirect/6")["error"]
    assert "5 redirects" in fetch(f"{HOST}/loop")["error"]
    assert "must start with http" in fetch(f"{HOST}/away?to=file:///etc/passwd")["error"]
    assert len(site.visits) == 6 + 6 + 6 + 1


def test_a_large_page_is_cut_at_two_megabytes(site: WebSite) -> None:
    """Ten megabytes are not downloaded, and what comes back is bounded further."""
    assert site
    page = fetch(f"{HOST}/large/10000000")["result"]
    assert page["cut"]
    assert len(page["text"]) == 40_000


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/status/404", "HTTP 404"),
        ("/status/500", "HTTP 500"),
        ("/hang", "no answer in time"),
    ],
)
def test_a_page_that_does_not_come_is_an_error_in_plain_words(site: WebSite, url: str, said: str) -> None:
    """Statuses and silence are told to the model as they are."""
    assert site
    assert said in fetch(HOST + url, connect_timeout_s=0.3)["error"]


@pytest.mark.parametrize(
    "url", ["", "harbour.test", "ftp://x/", "file:///etc/passwd", "http://", "http://[::1", "http://a b/", "http://x:99999/"]
)
def test_what_is_no_web_address_is_refused(site: WebSite, url: str) -> None:
    """Nothing but http and https is fetched, and odd addresses break nothing."""
    answer = fetch(url)
    assert (answer["ok"], answer["kind"]) == (False, "problem")
    assert site.visits == []


def test_without_a_proxy_there_is_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools never connect by themselves: an unmetered request is not made."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with WebSite() as site:
        assert "no way to the web" in fetch(f"{site.url}/article")["error"]
        assert site.visits == []


def test_a_packed_page_is_unpacked_and_a_bomb_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """gzip is understood; a hundred megabytes in a small answer stay packed."""
    bodies = {"/page": b"<html><title>T</title><p>packed words here</p></html>", "/bomb": b"<p>" + b"x" * 100_000_000}

    class Packed(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = gzip.compress(bodies["/" + self.path.rsplit("/", 1)[1]])
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with Served(Packed) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        assert "packed words" in fetch(f"{HOST}/page")["result"]["text"]
        bomb = fetch(f"{HOST}/bomb")
        assert bomb["ok"] is False or len(bomb["result"]["text"]) <= 40_000


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_goes_through_a_tunnel_and_checks_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https address is fetched over CONNECT; a server that cannot prove its name is not."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    made = [*make, "-days", "2", "-subj", "/CN=harbour.test", "-addext", "subjectAltName=DNS:harbour.test"]
    subprocess.run(made, check=True, capture_output=True, timeout=30)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tunnels: list[str] = []

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            tunnels.append(self.rfile.readline().decode().split()[1])
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            try:
                with closing(tls.wrap_socket(self.connection, server_side=True)) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret")
                    secure.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client does not trust us and leaves

    with Served(Proxy, socketserver.ThreadingTCPServer) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert "cannot be fetched" in fetch("https://harbour.test/x")["error"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch("https://harbour.test/x")["result"]["text"] == "secret"
        assert "cannot be fetched" in fetch("https://other.test/x")["error"]
    assert tunnels == ["harbour.test:443", "harbour.test:443", "other.test:443"]


def test_a_search_gives_titles_addresses_and_extracts(site: WebSite) -> None:
    """Results of SearXNG's JSON, no more than asked for, over the proxy."""
    found = search("harbour clock & more", url=f"{HOST}/", max_results=1)["result"]["results"]
    assert len(found) == 1
    assert found[0]["title"] == "The harbour clock"
    assert set(found[0]) == {"title", "url", "extract"}
    assert site.visits == ["GET /search?q=harbour+clock+%26+more&format=json"]


def test_a_search_that_cannot_be_made_says_why(site: WebSite) -> None:
    """No server configured, an empty query, a server that is none: each names its remedy."""
    assert site
    assert "[tools.web_search] url" in search("x")["error"]
    assert "empty" in search("  ", url=HOST)["error"]
    assert "HTTP 404" in search("x", url=f"{HOST}/nowhere")["error"]
    assert "HTTP 404" in search("x", url=f"{HOST}/article/")["error"]
