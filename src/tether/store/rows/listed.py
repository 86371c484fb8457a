"""What is read page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tether.events import Event
from tether.store.rows.claimed import Checkpoint

__all__ = ["AttemptState", "Page", "Tail", "TaskFilter"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A page of a list; next_cursor is None on the last one."""

    data: tuple[T, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; None or empty: any. created_from_ms is included, created_to_ms is not."""

    states: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    agent: str | None = None
    task_type: str | None = None
    tag: str | None = None
    user: str | None = None
    tenant: str | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Events of all tasks after a cursor; pass `cursor` to the next call. Order is kept within what one transaction wrote."""

    events: tuple[Event, ...]
    cursor: str


@dataclass(frozen=True, kw_only=True)
class AttemptState:
    """What is known of the inside of an attempt: its last checkpoint and the dump made before a kill."""

    task_id: str
    attempt: int
    checkpoint: Checkpoint | None
    dump: Mapping[str, Any] | None
    dumped_at_ms: int | None
