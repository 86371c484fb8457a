"""Holds on calls: which running attempts the gateway is to stop, decided from what the store says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tether.config import Settings
from tether.store.rows import Hold
from tether.worker.attempt import LiveAttempt
from tether.worker.launching import model_of

__all__ = ["hold_packet"]


def hold_packet(holds: Sequence[Hold], attempts: Iterable[LiveAttempt], settings: Settings) -> dict[str, Any]:
    """What the gateway is told: for each hold on calls the attempts that match it (null: all of them)."""
    live = list(attempts)
    stopped: list[dict[str, Any]] = []
    for hold in holds:
        if hold.stop != "calls":
            continue
        everything = (hold.agent, hold.task_type, hold.tenant, hold.model) == (None,) * 4
        keys = None if everything else [attempt.key for attempt in live if _matches(hold, attempt, settings)]
        stopped.append({"keys": keys, "note": hold.note or f"held by {hold.by or 'an operator'}"})
    return {"op": "hold", "holds": stopped}


def _matches(hold: Hold, attempt: LiveAttempt, settings: Settings) -> bool:
    task = attempt.claim.task
    return (
        hold.agent in (None, task.agent)
        and hold.task_type in (None, task.task_type)
        and hold.tenant in (None, task.tenant)
        and (hold.model is None or hold.model in model_of(settings, attempt))
    )
