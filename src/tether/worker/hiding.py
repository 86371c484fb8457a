"""Secrets of the tasks at work: given to the attempt's environment, and masked in whatever leaves it for journal or dump."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tether.config import Settings
from tether.events import NewEvent
from tether.secrets import Vault, mask
from tether.store.rows import UNSET, Claim, Entry

__all__ = ["Hiding"]


class Hiding:
    """Knows the secrets of tasks between `reveal` and `forget`; safe in threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, Mapping[str, str]]] = {}

    def reveal(self, claim: Claim) -> None:
        """Unseal a task's secrets, if it has any; raises ConfigurationError when this host has another key."""
        if claim.sealed is None:
            return
        found = cast("dict[str, str]", Vault.of(self._settings).unseal(claim.sealed))
        with self._lock:
            self._known[claim.task_id] = (claim.attempt, found)

    def forget(self, claim: Claim) -> None:
        """This attempt is over; the next one of the task may be here already."""
        with self._lock:
            if self._known.get(claim.task_id, (0, {}))[0] == claim.attempt:
                del self._known[claim.task_id]

    def environment(self, task_id: str) -> dict[str, str]:
        """The variables for the attempt."""
        return dict(self._values(task_id))

    def _values(self, task_id: str) -> Mapping[str, str]:
        return self._known.get(task_id, (0, {}))[1]

    def masked(self, entry: Entry) -> Entry:
        """An entry without the values of its task's secrets."""
        values = self._values(entry.task_id)
        if not values:
            return entry
        events = tuple(_event(event, values) for event in entry.events)
        ending = entry.ending
        if ending is not None:
            result = ending.result if ending.result is UNSET else mask(ending.result, values)
            ending = replace(ending, message=mask(ending.message, values), result=result)
        return replace(
            entry,
            events=events,
            ending=ending,
            partial=entry.partial if entry.partial is UNSET else mask(entry.partial, values),
            progress=mask(entry.progress, values),
            checkpoint=entry.checkpoint and replace(entry.checkpoint, state=mask(entry.checkpoint.state, values)),
            approval=entry.approval
            and replace(
                entry.approval, question=mask(entry.approval.question, values), details=mask(entry.approval.details, values)
            ),
            park=entry.park and replace(entry.park, message=mask(entry.park.message, values)),
        )

    def masked_record(self, task_id: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A dump without them."""
        values = self._values(task_id)
        return mask(record, values) if values else record


def _event(event: NewEvent, values: Mapping[str, str]) -> NewEvent:
    return replace(event, data=mask(event.data, values))
