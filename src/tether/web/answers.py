"""How answers look: JSON, pages of lists, streams of rows; and how they are described in the OpenAPI document."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from tether.store.rows import Page
from tether.web.schemas.documents import Problem

__all__ = ["CURSOR", "Cursor", "Limit", "document", "documents", "problems", "rows"]

CURSOR = r"^[a-z]{1,8}_[0-9A-Z]{26}$"
Limit = Annotated[int, Query(ge=1, le=200, description="rows of a page")]
Cursor = Annotated[str | None, Query(pattern=CURSOR, description="next_cursor of the page before")]
_ALWAYS = (400, 401, 403, 404, 422, 429, 500, 503)
_SAID = {
    400: "Cannot be read",
    401: "No valid key",
    403: "The key lacks the scope",
    404: "Not there, or another tenant's",
    408: "Too slow",
    409: "Conflict",
    412: "Another revision than in If-Match",
    413: "Too large",
    415: "Not application/json",
    422: "A field is not acceptable",
    429: "Over the key's rate",
    500: "A fault of ours",
    503: "Not available now",
}
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def problems(*further: int) -> dict[int | str, dict[str, Any]]:
    """The problems a route may answer, for its description."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _SAID[status], "content": content} for status in sorted({*_ALWAYS, *further})}


def document(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, never kept by caches: it may be another tenant's next."""
    return Response(_encode(value), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def documents(page: Page[Any]) -> Response:
    """A page of rows that know their document."""
    return document({"data": [row.document() for row in page.data], "next_cursor": page.next_cursor})


def rows(pages: AsyncIterator[Sequence[Mapping[str, Any]]], form: str, columns: Sequence[str], name: str) -> StreamingResponse:
    """A download of rows as csv, json or jsonl, sent page by page."""
    kinds = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/x-ndjson"}
    write: Callable[[AsyncIterator[Sequence[Mapping[str, Any]]], Sequence[str]], AsyncIterator[str]]
    write = {"csv": _csv, "json": _json, "jsonl": _jsonl}[form]
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(write(pages, columns), 200, headers, kinds[form])


async def _csv(pages: AsyncIterator[Sequence[Mapping[str, Any]]], columns: Sequence[str]) -> AsyncIterator[str]:
    yield _csv_text([columns])
    async for page in pages:
        yield _csv_text([[_cell(row.get(column)) for column in columns] for row in page])


def _csv_text(lines: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode("utf-8", "replace").decode()


def _cell(value: Any) -> str:
    """Text that a spreadsheet does not take for a formula."""
    text = "" if value is None else value if isinstance(value, str) else _encode(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


async def _json(pages: AsyncIterator[Sequence[Mapping[str, Any]]], _columns: Sequence[str]) -> AsyncIterator[str]:
    yield '{"data":['
    before = ""
    async for page in pages:
        for row in page:
            yield before + _encode(row)
            before = ","
    yield "]}"


async def _jsonl(pages: AsyncIterator[Sequence[Mapping[str, Any]]], _columns: Sequence[str]) -> AsyncIterator[str]:
    async for page in pages:
        yield "".join(f"{_encode(row)}\n" for row in page)


PROBLEM_SCHEMA = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
