"""The small web site answers as it says, with real HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tether.testing import WebSite


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def test_pages_and_visits() -> None:
    """Pages are served, redirects followed, and every visit is noted."""
    with WebSite() as site:
        assert b"harbour clock" in get(f"{site.url}/redirect/2")
        assert len(get(f"{site.url}/large/300000")) == 300_000
        assert "Größe" in get(f"{site.url}/latin1").decode("latin-1")
        assert json.loads(get(f"{site.url}/search?q=clock&format=json"))["results"][0]["url"] == f"{site.url}/article"
        with pytest.raises(UnicodeDecodeError):
            get(f"{site.url}/bytes").decode()
        assert site.visits[:3] == ["GET /redirect/2", "GET /redirect/1", "GET /article"]


@pytest.mark.parametrize(("path", "error"), [("/loop", urllib.error.HTTPError), ("/status/404", urllib.error.HTTPError)])
def test_errors(path: str, error: type[Exception]) -> None:
    """A redirect loop and a status reach the client as errors."""
    with WebSite() as site:
        with pytest.raises(error) as caught:
            get(site.url + path)
        caught.value.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/hang", "/slow/60"])
def test_no_answer(path: str) -> None:
    """A hanging and a slow page keep the client waiting, and the site still stops at once."""
    with WebSite() as site, pytest.raises(TimeoutError), urllib.request.urlopen(site.url + path, timeout=0.2) as answer:
        answer.read()
