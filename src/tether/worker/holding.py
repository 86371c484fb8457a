"""Holds on calls: which running attempts the gateway is to stop, decided from what the store says, and how they end for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tether.config import Settings
from tether.lifecycle import Reason
from tether.store.rows import Hold
from tether.worker.attempt import LiveAttempt
from tether.worker.launching import model_of
from tether.worker.outcome import Outcome

__all__ = ["Holding", "stopped"]


class Holding:
    """The holds that operators have in force, as this worker was told last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holds: tuple[Hold, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._holds)

    def take(self, holds: Iterable[Hold]) -> None:
        """What is in force from now on."""
        self._holds = tuple(hold for hold in holds if hold.stop == "calls")

    def of(self, attempt: LiveAttempt) -> Hold | None:
        """The hold that stops the calls of an attempt."""
        return next((hold for hold in self._holds if _matches(hold, attempt, self._settings)), None)

    def packet(self, attempts: Iterable[LiveAttempt]) -> dict[str, Any]:
        """What the gateway is told: for each hold the attempts that match it (null: all of them)."""
        live = list(attempts)
        stops: list[dict[str, Any]] = []
        for hold in self._holds:
            everything = (hold.agent, hold.task_type, hold.tenant, hold.model) == (None,) * 4
            keys = None if everything else [attempt.key for attempt in live if _matches(hold, attempt, self._settings)]
            stops.append({"keys": keys, "note": _note(hold)})
        return {"op": "hold", "holds": stops}


def stopped(attempt: LiveAttempt, hold: Hold | None) -> Outcome:
    """How an attempt ends whose calls are held: its task waits for the release. hold None: it was released meanwhile."""
    message = f"Its calls are stopped by an operator: {_note(hold)}." if hold else "Its calls were stopped by an operator."
    if not attempt.can_checkpoint and attempt.agent.replay == "off":
        message += " This agent is never started again (replay)."
        return Outcome(reason=Reason.POLICY, message=message, for_good=True)
    return Outcome(reason=Reason.OPERATOR, message=message, pause=True, hold=hold.id if hold else "")


def _note(hold: Hold) -> str:
    return hold.note or f"held by {hold.by or 'an operator'}"


def _matches(hold: Hold, attempt: LiveAttempt, settings: Settings) -> bool:
    task = attempt.claim.task
    return (
        hold.agent in (None, task.agent)
        and hold.task_type in (None, task.task_type)
        and hold.tenant in (None, task.tenant)
        and (hold.model is None or hold.model in model_of(settings, attempt))
    )
