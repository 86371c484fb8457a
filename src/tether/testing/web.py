"""A small web site for tests of web tools: pages, links, redirects, slow, large and broken answers, and a count of visits.

/            a page with links                      /article      a long readable article between navigation and footer
/redirect/N  N redirects, then /article             /loop         redirects to itself for ever
/away?to=URL a redirect to any address              /slow/S       headers at once, the body after S seconds
/hang        no answer at all                       /large/BYTES  that many bytes of text, in chunks
/latin1      ISO-8859-1 text, declared              /bytes        bytes that are no text in any encoding
/status/N    that status                            /json         a JSON document
/visits      what was asked so far, as JSON         /search       SearXNG's JSON search over these pages
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

from tether.testing.serving import Serving

__all__ = ["WebSite"]

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ARTICLE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The harbour clock</title></head><body>
<nav><a href="/">Home</a> <a href="/article">Article</a></nav>
<article><h1>The harbour clock</h1>
<p>The clock over the harbour office was built in 1887 and loses four seconds in a day, which the keeper corrects each
evening.</p>
<p>Ships of the coast once set their own clocks by the ball that fell at noon. The ball still falls, though nobody on the
water waits for it any more, and the office keeps a book of every noon at which fog hid it.</p>
<p>In the year of the great storm the book has no entry for nineteen days. The keeper wrote afterwards that there was no
noon to be seen.</p></article><footer>Imprint</footer></body></html>"""

_HOME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Harbour</title></head><body>
<h1>Harbour</h1><p>Pages about a small harbour.</p><ul><li><a href="/article">The harbour clock</a></li></ul></body></html>"""

_CHUNK = b"0123456789abcdef" * 4096


class WebSite(Serving):
    """The site on a loopback port; `visits` is what was asked, as "METHOD /path?query"."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._lock = threading.Lock()
        self._visits: list[str] = []

    @property
    def visits(self) -> list[str]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return list(self._visits)

    def app(self) -> web.Application:
        """The site's application."""
        app = web.Application()
        pages: dict[str, Page] = {
            "/": _home,
            "/article": _article,
            "/redirect/{n}": _redirect,
            "/loop": _loop,
            "/away": _away,
            "/slow/{s}": _slow,
            "/hang": _hang,
            "/large/{bytes}": _large,
            "/latin1": _latin1,
            "/bytes": _bytes,
            "/status/{n}": _status,
            "/json": _json,
            "/search": _search,
            "/visits": self._show,
        }
        for path, page in pages.items():
            app.router.add_route("*", path, self._noted(page))
        return app

    def _noted(self, page: Page) -> Page:
        async def show(http: web.Request) -> web.StreamResponse:
            with self._lock:
                self._visits.append(f"{http.method} {http.path_qs}")
            return await page(http)

        return show

    async def _show(self, _http: web.Request) -> web.Response:
        return web.json_response({"data": self.visits})


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8")


async def _home(_http: web.Request) -> web.Response:
    return _html(_HOME)


async def _article(_http: web.Request) -> web.Response:
    return _html(_ARTICLE)


async def _redirect(http: web.Request) -> web.Response:
    left = int(http.match_info["n"])
    return web.Response(status=302, headers={"Location": f"/redirect/{left - 1}" if left > 1 else "/article"})


async def _loop(_http: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/loop"})


async def _away(http: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": http.query["to"]})


async def _slow(http: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
    await answer.prepare(http)
    await asyncio.sleep(float(http.match_info["s"]))
    await answer.write(_ARTICLE.encode())
    return answer


async def _hang(_http: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def _large(http: web.Request) -> web.StreamResponse:
    left = int(http.match_info["bytes"])
    answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await answer.prepare(http)
    while left > 0:
        await answer.write(_CHUNK[:left])
        left -= len(_CHUNK)
    return answer


async def _latin1(_http: web.Request) -> web.Response:
    said = "Größe, naïveté, crème brûlée: a page in an old encoding."
    text = f"<html><head><title>Café</title></head><body><p>{said}</p></body></html>"
    return web.Response(body=text.encode("latin-1"), headers={"Content-Type": "text/html; charset=iso-8859-1"})


async def _bytes(_http: web.Request) -> web.Response:
    return web.Response(body=bytes(range(256)) * 16, headers={"Content-Type": "text/html; charset=utf-8"})


async def _status(http: web.Request) -> web.Response:
    return web.Response(status=int(http.match_info["n"]), text="as asked")


async def _json(_http: web.Request) -> web.Response:
    return web.json_response({"harbour": {"clock": 1887, "loses_s_per_day": 4}})


async def _search(http: web.Request) -> web.Response:
    query = http.query.get("q", "")
    root = f"http://{http.host}"
    found = [
        {
            "title": "The harbour clock",
            "url": f"{root}/article",
            "content": "The clock over the harbour office was built in 1887.",
        },
        {"title": "Harbour", "url": f"{root}/", "content": "Pages about a small harbour."},
    ]
    return web.json_response({"query": query, "results": found, "number_of_results": len(found)})
