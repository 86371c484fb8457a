"""Budgets: counters, reservations and settlements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tether.events import NewEvent
from tether.task import Budget, Usage, usd_from_nano

__all__ = ["Account", "CallKind", "Counters", "Recording", "Refused", "Reserve", "Reserved", "Settle", "Settled"]

CallKind = Literal["llm", "web", "tool", "step", "charge"]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """A budget row: what was used, what is held for calls in flight, what is allowed. epoch grows with each change of a limit."""

    llm_calls: int
    max_llm_calls: int
    nanousd: int
    held_nanousd: int
    max_nanousd: int
    tokens: int
    held_tokens: int
    max_tokens: int
    web_requests: int
    max_web_requests: int
    tool_calls: int
    max_tool_calls: int
    steps: int
    max_steps: int
    epoch: int
    web_counting: str = "exact"

    def left(self) -> dict[str, float]:
        """What may still be spent, by budget key (max_usd in dollars); never negative; amounts held count as spent."""
        return {
            "max_llm_calls": max(self.max_llm_calls - self.llm_calls, 0),
            "max_usd": usd_from_nano(max(self.max_nanousd - self.nanousd - self.held_nanousd, 0)),
            "max_web_requests": max(self.max_web_requests - self.web_requests, 0),
            "max_tokens": max(self.max_tokens - self.tokens - self.held_tokens, 0),
            "max_steps": max(self.max_steps - self.steps, 0),
            "max_tool_calls": max(self.max_tool_calls - self.tool_calls, 0),
        }

    def usage(self) -> Usage:
        """The used part, for documents."""
        return Usage(
            llm_calls=self.llm_calls,
            nanousd=self.nanousd,
            held_nanousd=self.held_nanousd,
            tokens=self.tokens,
            web_requests=self.web_requests,
            tool_calls=self.tool_calls,
            steps=self.steps,
            web_counting=self.web_counting,
        )

    def budget(self) -> Budget:
        """The allowed part, for documents."""
        return Budget(
            max_llm_calls=self.max_llm_calls,
            max_usd=usd_from_nano(self.max_nanousd),
            max_web_requests=self.max_web_requests,
            max_tokens=self.max_tokens,
            max_steps=self.max_steps,
            max_tool_calls=self.max_tool_calls,
        )


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """Asks for room in a budget before something is spent; `event` is written in the same transaction when it is granted.

    kind: llm | web | tool | step | charge. call_id: unique within the task; a step has none. name: model, host or tool.
    hold_nanousd, hold_tokens: upper bounds. A charge is recorded at once and never refused for its amount (it was spent already).
    final: the one last call that `wrap_up` keeps back.
    """

    kind: CallKind
    task_id: str
    lease_token: str
    attempt: int
    call_id: str = ""
    name: str = ""
    step: int | None = None
    hold_nanousd: int = 0
    hold_tokens: int = 0
    event: NewEvent | None = None
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """The room is there. repeated: this call id was reserved before under the same lease (nothing counted twice).

    over: a budget key that is passed now (charges only), else None.
    """

    call_id: str
    counters: Counters
    repeated: bool = False
    over: str | None = None

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Refused:
    """No room. limit: a budget key, "lease" (stale or closed) or "call_id" (used before); used and allowed in the limit's unit
    (max_usd: nano-dollars, held amounts included). left_nanousd, left_tokens: what a smaller call could still hold."""

    call_id: str
    limit: str
    used: int = 0
    allowed: int = 0
    left_nanousd: int = 0
    left_tokens: int = 0
    counters: Counters | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Settle:
    """What a reserved call really took; `event` is written in the same transaction, whoever holds the lease now.

    nanousd None: settled at the hold. dispatched False: it never left, so its count is given back too.
    """

    task_id: str
    call_id: str
    nanousd: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    outcome: str = "ok"
    status: int | None = None
    name: str | None = None
    context_window: int | None = None
    dispatched: bool = True
    event: NewEvent | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """fresh: settled by this call (False: it was before, or is unknown). over: budget keys that are passed now."""

    call_id: str
    fresh: bool
    counters: Counters | None = None
    over: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Account:
    """On what a task's budget went, settled and held: by model, by host, and what its agent charged; each name -> figures."""

    models: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    web: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    charges: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])

    def document(self) -> dict[str, Any]:
        """For the details of an approval."""
        return {"models": dict(self.models), "web": dict(self.web), "charges": dict(self.charges)}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A model's answer as its agent got it, to be given again at no cost. place: fingerprint of the request.

    body None: the call was held and has no answer.
    """

    task_id: str
    call_id: str
    attempt: int
    place: str
    content_type: str | None = None
    body: bytes | None = None
