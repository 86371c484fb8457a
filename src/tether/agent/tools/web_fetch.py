"""The tool web_fetch."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.agent.tools.arguments import ToolProblem, text
from tether.agent.tools.http_get import Page, get

__all__ = ["tool"]

_MOST_BYTES = 2 * 1024 * 1024
_MOST_CHARS = 40_000
_TIMEOUT_S = 20.0
_PLAIN = re.compile(r"(text/|application/(json|xml|javascript|.*\+json|.*\+xml))")
_HTML = frozenset({"text/html", "application/xhtml+xml", ""})


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - every tool has the same signature
    """Readable text of a page: {url, status, title, text, cut}; options: max_bytes, max_chars, connect_timeout_s."""
    page = get(
        text(args, "url").strip(),
        accept="text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.8",
        most_bytes=int(options.get("max_bytes") or _MOST_BYTES),
        timeout_s=float(options.get("connect_timeout_s") or _TIMEOUT_S),
    )
    title, content = _readable(page)
    if page.status >= 400:
        raise ToolProblem(f"{page.url} answered HTTP {page.status}: {content[:500].strip()}")
    most = int(options.get("max_chars") or _MOST_CHARS)
    cut = page.cut or len(content) > most
    return {"url": page.url, "status": page.status, "title": title, "text": content[:most], "cut": cut}


def _readable(page: Page) -> tuple[str, str]:
    if page.kind in _HTML:
        return _html(page)
    if _PLAIN.match(page.kind):
        return "", page.body.decode(_charset(page), "replace")
    if page.status >= 400:
        return "", ""
    raise ToolProblem(f"{page.url} is {page.kind}, not text")


def _charset(page: Page) -> str:
    found = re.search(r"charset=[\"']?([\w.:-]+)", page.headers.get("content-type", ""), re.IGNORECASE)
    try:
        return codecs.lookup(found[1]).name if found else "utf-8"
    except LookupError:
        return "utf-8"


def _html(page: Page) -> tuple[str, str]:
    import trafilatura

    source = page.body.decode(_charset(page), "replace") if "charset=" in page.headers.get("content-type", "") else page.body
    tree = trafilatura.load_html(source)
    if tree is None:
        return "", page.body.decode("utf-8", "replace")
    title = " ".join((tree.findtext(".//title") or "").split())
    content = trafilatura.extract(tree, url=page.url, output_format="txt", include_links=True, include_tables=True)
    return title, content or _all_text(trafilatura.load_html(source))


def _all_text(tree: Any) -> str:
    """Every visible word, for pages (lists, forms, very short ones) in which no article is found."""
    for element in tree.xpath("//script|//style|//noscript|//template"):
        element.drop_tree() if hasattr(element, "drop_tree") else element.getparent().remove(element)
    return "\n".join(line for line in (part.strip() for part in tree.itertext()) if line)
