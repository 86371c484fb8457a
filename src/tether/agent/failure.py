"""Why an attempt fails, in the supervisor's closed words, and how an exception of the agent becomes one."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass

from tether.errors import LinkError

__all__ = ["AgentFailed", "Failure", "failure_of"]

_OURS = os.path.dirname(os.path.abspath(__file__))
_MOST_FRAMES = 12
_MOST_CHARS = 8_000


class AgentFailed(Exception):
    """The attempt cannot go on; reason is agent_error, context_exceeded, upstream_error or invalid_result."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What the supervisor is told: reason, message for the user, traceback for the journal ("" when it says nothing new)."""

    reason: str
    message: str
    traceback: str = ""


def failure_of(error: BaseException) -> Failure:
    """The failure an exception out of the agent's function stands for."""
    if isinstance(error, AgentFailed):
        return Failure(reason=error.reason, message=error.message)
    if isinstance(error, LinkError) and error.reason == "invalid_result":
        return Failure(reason="invalid_result", message=str(error))
    if isinstance(error, SystemExit):
        message = f"the agent called sys.exit({error.code!r}); return the result, or raise an error that says what went wrong"
        return Failure(reason="agent_error", message=message, traceback=_short_traceback(error))
    said = _cut(str(error).strip(), 2_000)
    kind = type(error).__name__
    message = f"the agent raised {kind}: {said}" if said else f"the agent raised {kind}"
    return Failure(reason="agent_error", message=message, traceback=_short_traceback(error))


def _short_traceback(error: BaseException) -> str:
    """The last frames, without ours around the agent's function."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not os.path.abspath(f.filename).startswith(_OURS)] or list(frames)
    lines = traceback.format_list(own[-_MOST_FRAMES:]) + traceback.format_exception_only(error)
    return _cut("".join(lines), _MOST_CHARS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-most:]
