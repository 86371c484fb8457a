"""What both Links share and no socket is needed for: request fields, the meaning of replies, the agent's view."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tether.agent.hello import Hello, TaskView, ToolOutcome
from tether.agent.trail import Trail
from tether.errors import AttemptEnding, BudgetExceeded, LinkError
from tether.packets import PacketError
from tether.task import nano_from_usd

__all__ = ["Desk", "checked", "ended", "question_key", "unsendable"]


def ended() -> AttemptEnding:
    """The error of every request after the supervisor is gone."""
    return AttemptEnding("ending", "the supervisor ended this attempt")


def checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply when it is ok; else raises AttemptEnding, BudgetExceeded or LinkError by its reason."""
    if reply.get("ok"):
        return reply
    reason, message = reply.get("reason", "refused"), reply.get("message", "the supervisor refused")
    if reason == "ending":
        raise AttemptEnding(reason, message)
    if reason == "budget":
        raise BudgetExceeded(reply.get("limit", "budget"), reply.get("used", 0), reply.get("allowed", 0), reply.get("asked", 1))
    raise LinkError(reason, message)


def question_key(question: str) -> str:
    """The key of a question that was given none: the same question gets the same answer."""
    return "question-" + hashlib.sha256(question.encode("utf-8", "replace")).hexdigest()[:16]


class Desk:
    """State of a Link: task, attempt, state of the last checkpoint, budget left as last told, answers, nudge of the last step."""

    def __init__(self, hello: Hello) -> None:
        self.task: TaskView = hello.task
        self.attempt = hello.attempt
        self.state: Any = hello.state
        self.window = hello.window
        self.earlier_partial: Any = hello.partial
        self.answers = dict(hello.answers)
        self.nudge = hello.nudge
        self.steps = hello.step
        self.finished = False
        self.budget_left: Mapping[str, float] = hello.budget
        self._earlier = dict(hello.tools)
        self._trail = Trail(hello.state_number, hello.state)
        self._numbers = itertools.count(2)
        self._replies: dict[int, dict[str, Any]] = {}
        self._in_step = False

    def known_outcome(self, call_id: str | None, rerun_unknown: bool) -> ToolOutcome | None:
        """How `call_id` ended in an earlier attempt, once; None when it has to run: it never did, or its outcome is unknown
        and it may be rerun."""
        known = self._earlier.pop(call_id, None) if call_id else None
        return None if known and known.outcome == "outcome_unknown" and rerun_unknown else known

    def _next_number(self) -> int:
        return next(self._numbers)

    def _accepted(self, reply: dict[str, Any]) -> dict[str, Any]:
        if "budget" in reply:
            self.budget_left = reply["budget"]
        return checked(reply)

    def _stepped(self, reply: Mapping[str, Any]) -> int:
        self._in_step = True
        self.nudge = reply.get("nudge")
        self.steps = reply["step"]
        return self.steps

    def _tool_fields(self, name: str, args: Mapping[str, Any], call_id: str | None) -> dict[str, Any]:
        return {"call_id": call_id or uuid.uuid4().hex[:12], "name": name, "args": dict(args)}

    def _charge_fields(self, usd: float, what: str) -> dict[str, Any]:
        return {"nanousd": nano_from_usd(usd, "charge"), "what": what}

    def _difference(self, state: Any) -> dict[str, Any]:
        return self._trail.difference(state)

    def _kept(self, number: int, state: Any) -> None:
        self._trail.kept(number, state)
        self.state = state

    def _delta(self, append: Mapping[str, Sequence[Any]], changed: Mapping[str, Any]) -> dict[str, Any]:
        if self._trail.number is None:
            raise LinkError("no_base", "there is no checkpoint to extend; call checkpoint first")
        delta = {"append": {name: list(items) for name, items in append.items()}, "set": dict(changed)}
        return {"state": delta, "base": self._trail.number}

    def _extended(self, number: int) -> None:
        self._trail.extended(number)


def unsendable(packet: Mapping[str, Any], error: PacketError) -> LinkError:
    """The error of a request that cannot be a packet (not JSON, too large); the connection is unharmed."""
    return LinkError("not_sendable", f"{packet['op']}: {error}")
