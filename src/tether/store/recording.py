"""Recorded answers of models, for agents that cannot checkpoint: kept while their task lives, bounded by size."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select

from tether.store.prepared import Prepared
from tether.store.reading import Reading
from tether.store.rows import Recording
from tether.store.tables import recordings
from tether.store.writing import Writing

__all__ = ["MOST_BYTES", "forget", "record", "recorded", "recorded_answers"]

MOST_BYTES = 64 * 1024 * 1024  # of one task, compressed; what is over it is asked again
_insert = Prepared(insert(recordings))


def record(tx: Writing, items: Sequence[Recording]) -> list[bool]:
    """Keep each once; False where it was kept before, its task has no room, or there is no such task."""
    tx.lock(item.task_id for item in items)
    ids, call_ids = sorted({item.task_id for item in items}), [item.call_id for item in items]
    total = func.sum(func.coalesce(func.length(recordings.c.body), 0)).label("total")
    summed = select(recordings.c.task_id, total).where(recordings.c.task_id.in_(ids)).group_by(recordings.c.task_id)
    kept = select(recordings.c.task_id, recordings.c.call_id).where(
        recordings.c.task_id.in_(ids), recordings.c.call_id.in_(call_ids)
    )
    sizes = defaultdict(int, {row.task_id: int(row.total) for row in tx.all(summed)})
    known = {(row.task_id, row.call_id) for row in tx.all(kept)}
    return [_record(tx, item, sizes, known) for item in items]


def _record(tx: Writing, item: Recording, sizes: dict[str, int], known: set[tuple[str, str]]) -> bool:
    body = None if item.body is None else zlib.compress(item.body, 6)
    key, size = (item.task_id, item.call_id), len(body or b"")
    if item.task_id not in tx.rows or key in known or sizes[item.task_id] + size > MOST_BYTES:
        return False
    known.add(key)
    sizes[item.task_id] += size
    values = {"attempt": item.attempt, "place": item.place, "content_type": item.content_type, "body": body}
    tx.put(_insert, {"task_id": item.task_id, "call_id": item.call_id, "created_at_ms": tx.now_ms, **values})
    return True


def recorded(tx: Reading, task_id: str) -> list[Recording]:
    """Oldest first."""
    query = select(recordings).where(recordings.c.task_id == task_id).order_by(recordings.c.created_at_ms, recordings.c.call_id)
    names = ("task_id", "call_id", "attempt", "place", "content_type")
    return [
        Recording(**{name: getattr(row, name) for name in names}, body=None if row.body is None else zlib.decompress(row.body))
        for row in tx.all(query)
    ]


def recorded_answers(tx: Reading, task_id: str) -> int:
    """How many answers are kept."""
    query = select(func.count().label("n")).where(recordings.c.task_id == task_id, recordings.c.body.is_not(None))
    row = tx.one(query)
    return row.n if row is not None else 0


def forget(tx: Writing, task_id: str) -> None:
    """The next attempt starts with nothing recorded."""
    tx.run(delete(recordings).where(recordings.c.task_id == task_id))
