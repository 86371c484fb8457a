"""What a task may spend and how long things may take: Budget and Timeouts, frozen and checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from tether.checks import checked_count, checked_seconds, known_keys, nano_from_usd, usd_from_nano

__all__ = ["Budget", "Timeouts"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a task may spend; every limit is finite and 0 means none at all.

    max_llm_calls, max_web_requests, max_tool_calls, max_steps: counts; max_tokens: input plus output tokens;
    max_usd: dollars (int, float, Decimal or text), held as `max_nanousd`.
    """

    max_llm_calls: int = 50
    max_usd: float = 5.0
    max_web_requests: int = 100
    max_tokens: int = 10_000_000
    max_steps: int = 1_000
    max_tool_calls: int = 1_000

    def __post_init__(self) -> None:
        for f in fields(self):
            name = f"budget.{f.name}"
            if f.name == "max_usd":
                value: int | float = usd_from_nano(nano_from_usd(self.max_usd, name))
            else:
                value = checked_count(getattr(self, f.name), name)
            object.__setattr__(self, f.name, value)

    @property
    def max_nanousd(self) -> int:
        """max_usd in nano-dollars."""
        return nano_from_usd(self.max_usd)

    @classmethod
    def of(cls, value: Budget | Mapping[str, Any] | None, base: Budget | None = None) -> Budget:
        """A budget from a mapping, with `base` (or the defaults) for the keys it leaves out."""
        if isinstance(value, Budget):
            return value
        given = {} if value is None else known_keys(cls, value, "budget")
        start = base or _default_budget()
        return replace(start, **given) if given else start

    def plus(self, add: Mapping[str, Any]) -> Budget:
        """This budget with the amounts of `add` (same keys) added."""
        given = known_keys(Budget, add, "add")
        extra = {
            key: nano_from_usd(value, f"add.{key}") if key == "max_usd" else checked_count(value, f"add.{key}")
            for key, value in given.items()
        }
        raised = {
            key: usd_from_nano(self.max_nanousd + n) if key == "max_usd" else getattr(self, key) + n for key, n in extra.items()
        }
        return replace(self, **raised)

    def document(self) -> dict[str, Any]:
        """The budget as JSON: the same keys, max_usd in dollars."""
        return {f: getattr(self, f) for f in self.__dataclass_fields__}  # asdict would copy each number


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long things may take, in seconds; all finite and greater than 0.

    tool_s: one tool call; step_s: one think/act cycle; task_s: active time of the task over all attempts;
    idle_s: no sign of life from the agent; queue_s: waiting for a worker; approval_s: waiting for a human.
    """

    tool_s: float = 30.0
    step_s: float = 120.0
    task_s: float = 3600.0
    idle_s: float = 300.0
    queue_s: float = 86400.0
    approval_s: float = 604800.0

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, checked_seconds(getattr(self, f.name), f"timeouts.{f.name}"))

    @classmethod
    def of(cls, value: Timeouts | Mapping[str, Any] | None, base: Timeouts | None = None) -> Timeouts:
        """Timeouts from a mapping, with `base` (or the defaults) for the keys it leaves out."""
        if isinstance(value, Timeouts):
            return value
        given = {} if value is None else known_keys(cls, value, "timeouts")
        start = base or _default_timeouts()
        return replace(start, **given) if given else start

    def document(self) -> dict[str, Any]:
        """The timeouts as JSON, in seconds."""
        return {f: getattr(self, f) for f in self.__dataclass_fields__}  # asdict would copy each number


# one object serves all: it is frozen, and checking its fields anew for every submission costs more than the rest of it


@cache
def _default_budget() -> Budget:
    return Budget()


@cache
def _default_timeouts() -> Timeouts:
    return Timeouts()
