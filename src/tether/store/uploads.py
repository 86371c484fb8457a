"""Uploaded files (their names and sizes; the bytes lie in the data folder) and the sealed secrets of tasks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from tether.errors import NotFound, ValidationError
from tether.store.access_rows import NewUpload, UploadRow
from tether.store.access_tables import secrets, uploads
from tether.store.payloads import plain
from tether.store.reading import Reading
from tether.store.rows import Page
from tether.store.writing import Writing

__all__ = ["add", "forget", "old", "one", "page", "sealed"]


def _upload(row: Row[Any]) -> UploadRow:
    return UploadRow(**{name: getattr(row, name) for name in UploadRow.__dataclass_fields__})


def add(tx: Writing, new: NewUpload, most_bytes: int) -> UploadRow:
    """Store it unless the tenant's files would pass most_bytes together (ValidationError); the same file again is the first one.

    So a submission that is sent again after a break has the same content, down to the ids of its files.
    """
    same = select(uploads).where(uploads.c.tenant == new.tenant, uploads.c.sha256 == new.sha256, uploads.c.name == new.name)
    known = tx.one(same.order_by(uploads.c.id).limit(1))
    if known is not None:  # it is kept as long as one that was sent now
        tx.run(update(uploads).where(uploads.c.id == known.id).values(created_at_ms=tx.now_ms))
        return one(tx, known.id, None)
    used = tx.one(select(func.coalesce(func.sum(uploads.c.size_bytes), 0).label("n")).where(uploads.c.tenant == new.tenant))
    if used is not None and int(used.n) + new.size_bytes > most_bytes:
        raise ValidationError("file", f"would bring the files of this tenant over {most_bytes:,} bytes", "delete some first")
    values = {name: getattr(new, name) for name in NewUpload.__dataclass_fields__}
    tx.run(insert(uploads).values(**{**values, "name": plain(new.name, 500), "created_at_ms": tx.now_ms}))
    return one(tx, new.id, None)


def one(tx: Reading, upload_id: str, tenant: str | None) -> UploadRow:
    """Raises NotFound, also for another tenant's."""
    row = tx.one(select(uploads).where(uploads.c.id == upload_id))
    if row is None or (tenant is not None and row.tenant != tenant):
        raise NotFound("file", upload_id)
    return _upload(row)


def page(tx: Reading, tenant: str | None, limit: int, cursor: str | None) -> Page[UploadRow]:
    """Newest first."""
    query = select(uploads).order_by(uploads.c.id.desc()).limit(limit + 1)
    query = query if tenant is None else query.where(uploads.c.tenant == tenant)
    rows = tx.all(query if cursor is None else query.where(uploads.c.id < cursor))
    data = tuple(_upload(row) for row in rows[:limit])
    return Page(data=data, next_cursor=data[-1].id if len(rows) > limit else None)


def forget(tx: Writing, upload_id: str, tenant: str | None) -> UploadRow:
    """Delete its row; raises NotFound."""
    found = one(tx, upload_id, tenant)
    tx.run(delete(uploads).where(uploads.c.id == upload_id))
    return found


def old(tx: Reading, older_than_s: float, limit: int) -> list[str]:
    """Ids of uploads made before."""
    before = tx.now_ms - int(older_than_s * 1000)
    query = select(uploads.c.id).where(uploads.c.created_at_ms < before).order_by(uploads.c.id).limit(limit)
    return [row.id for row in tx.all(query)]


def sealed(tx: Reading, task_id: str) -> bytes | None:
    """The sealed secrets of a task; None without, or when they were erased."""
    row = tx.one(select(secrets.c.data).where(secrets.c.task_id == task_id))
    return None if row is None else row.data
