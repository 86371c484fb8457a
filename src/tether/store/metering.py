"""Everything a gateway has to write at one moment, in one transaction: a commit costs more than what it commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tether.store.journal import append
from tether.store.recording import record
from tether.store.reserving import reserve
from tether.store.rows import Append, Recording, Reserve, Settle
from tether.store.settling import settle
from tether.store.writing import Writing

__all__ = ["Metered", "meter"]

Metered = Settle | Append | Recording | Reserve
#: What gives room back comes before what takes it.
_WRITES: tuple[tuple[type, Callable[[Writing, Sequence[Any]], Sequence[Any]]], ...] = (
    (Settle, settle),
    (Append, append),
    (Recording, record),
    (Reserve, reserve),
)


def meter(tx: Writing, items: Sequence[Metered]) -> list[Any]:
    """The answers of settle, append, record and reserve, in the order of the items."""
    tx.lock(item.task_id for item in items)
    answers: dict[int, Any] = {}
    for kind, write in _WRITES:
        places = [place for place, item in enumerate(items) if isinstance(item, kind)]
        if places:
            answers.update(zip(places, write(tx, [items[place] for place in places]), strict=True))
    return [answers[place] for place in range(len(items))]
