"""The tool web_search, over a SearXNG server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tether.agent.tools.arguments import ToolProblem, number, text
from tether.agent.tools.http_get import Page, get

__all__ = ["tool"]

_MOST_BYTES = 2 * 1024 * 1024
_TIMEOUT_S = 20.0
_MOST_EXTRACT = 400


def tool(workspace: Path, args: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - every tool has the same signature
    """Results of a search: {results: [{title, url, extract}]}; options: url of a SearXNG server, max_results."""
    query = text(args, "query").strip()
    if not query:
        raise ToolProblem("the query is empty; say what to search for")
    server = str(options.get("url") or "").rstrip("/")
    if not server:
        raise ToolProblem(
            "no search server is configured, so searching is not possible here; use web_fetch with an address you know "
            '(the operator can set [tools.web_search] url = "http://…" to a SearXNG server)'
        )
    wanted = number(args, "max_results", int(options.get("max_results") or 8), least=1, most=20)
    page = get(
        f"{server}/search?{urlencode({'q': query, 'format': 'json'})}",
        accept="application/json",
        most_bytes=_MOST_BYTES,
        timeout_s=_TIMEOUT_S,
    )
    return {"results": [_result(found) for found in _results(page)[:wanted]]}


def _results(page: Page) -> list[Any]:
    if page.status == 403:
        raise ToolProblem("the search server refuses JSON; its operator must add json to search.formats in settings.yml")
    if page.status != 200:
        raise ToolProblem(f"the search server answered HTTP {page.status}")
    try:
        found = json.loads(page.body)["results"]
    except (ValueError, KeyError, TypeError):
        raise ToolProblem("the search server did not answer as SearXNG does; check [tools.web_search] url") from None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _result(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "title": str(found.get("title") or "")[:300],
        "url": str(found.get("url") or "")[:2000],
        "extract": " ".join(str(found.get("content") or "").split())[:_MOST_EXTRACT],
    }
