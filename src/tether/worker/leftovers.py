"""What a command that was ended leaves for its user: its result.json as far as it got, else what it printed."""

from __future__ import annotations

from typing import Any

from tether.agent.adapters.command import outcome
from tether.config import Settings
from tether.lifecycle import Reason
from tether.store.rows import UNSET, Unset
from tether.worker import launching
from tether.worker.attempt import LiveAttempt

__all__ = ["partial_of"]

_ENDED = 1


def partial_of(settings: Settings, attempt: LiveAttempt, reason: Reason) -> Any | Unset:
    """The partial result, UNSET when there is none or the attempt told of one itself; reads a file, so for a thread."""
    if attempt.agent.kind != "command" or reason is Reason.COMPLETED or attempt.partial is not None:
        return UNSET
    workspace = None if attempt.agent.in_place else launching.workspace_of(settings, attempt.claim)
    found = outcome(workspace, attempt.captured["stdout"].tail(), _ENDED)
    return UNSET if found.result in (None, "") else found.result
