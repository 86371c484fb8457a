"""The limits of a budget row: which columns belong to which key, what is passed, and the warning at 80 %."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import bindparam, update

from tether.events import NewEvent
from tether.store.prepared import Prepared
from tether.store.rows import Counters
from tether.store.tables import budgets
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing
from tether.task import usd_from_nano

__all__ = ["LIMITS", "Limit", "passed", "still_warned", "warn"]

_WARN_PERCENT = 80
_add_warned = Prepared(
    update(budgets)
    .where(budgets.c.task_id == bindparam("b_task"))
    .values(warned=budgets.c.warned.bitwise_or(bindparam("b_bits", type_=budgets.c.warned.type)))
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One key of a budget: columns of what is used, held and allowed, and what wrap_up keeps back."""

    key: str
    used: str
    allowed: str
    held: str | None = None
    kept: str | None = None
    bit: int

    def spent(self, counters: Counters) -> int:
        """What was really used, in the limit's unit (nano-dollars for max_usd)."""
        return getattr(counters, self.used)

    def taken(self, counters: Counters) -> int:
        """Used and held."""
        return self.spent(counters) + (getattr(counters, self.held) if self.held else 0)

    def most(self, counters: Counters) -> int:
        """What is allowed."""
        return getattr(counters, self.allowed)


LIMITS = (
    Limit(key="max_llm_calls", used="llm_calls", allowed="max_llm_calls", kept="kept_llm_calls", bit=1),
    Limit(key="max_usd", used="nanousd", held="held_nanousd", allowed="max_nanousd", kept="kept_nanousd", bit=2),
    Limit(key="max_tokens", used="tokens", held="held_tokens", allowed="max_tokens", kept="kept_tokens", bit=4),
    Limit(key="max_web_requests", used="web_requests", allowed="max_web_requests", bit=8),
    Limit(key="max_tool_calls", used="tool_calls", allowed="max_tool_calls", bit=16),
    Limit(key="max_steps", used="steps", allowed="max_steps", bit=32),
)


#: Both for all limits at once, as every reservation and settlement asks.
_spent = attrgetter(*(limit.used for limit in LIMITS))
_most = attrgetter(*(limit.allowed for limit in LIMITS))


def passed(counters: Counters) -> tuple[str, ...]:
    """Keys of which more was used than is allowed now."""
    pairs = zip(LIMITS, _spent(counters), _most(counters), strict=True)
    return tuple(limit.key for limit, spent, most in pairs if spent > most)


def _near(counters: Counters) -> int:
    """Bits of the limits of which 80 % is used."""
    pairs = zip(LIMITS, _spent(counters), _most(counters), strict=True)
    return sum([limit.bit for limit, spent, most in pairs if most and spent * 100 >= most * _WARN_PERCENT])


def still_warned(counters: Counters, warned: int) -> int:
    """The warned bits after limits changed: what is below 80 % again will warn again."""
    return warned & _near(counters)


def warn(tx: Writing, row: TaskRow, counters: Counters, warned: int) -> None:
    """Tell once per limit that 80 % of it is used."""
    fresh = _near(counters) & ~warned
    if not fresh:
        return
    tx.put(_add_warned, {"b_task": row.id, "b_bits": fresh})
    for limit in LIMITS:
        if fresh & limit.bit:
            used, allowed = limit.spent(counters), limit.most(counters)
            shown = (usd_from_nano(used), usd_from_nano(allowed)) if limit.key == "max_usd" else (used, allowed)
            data = {"limit": limit.key, "used": shown[0], "allowed": shown[1]}
            tx.note(row, NewEvent(type="budget_warning", attempt=row.attempt or None, data=data))
