"""Who gets the next free slots: a pure decision, by priority, then by who has the fewest attempts at work, within the limits.

Fairness is between tenants: of those waiting at the highest priority the one with the fewest attempts at work comes first, so
none starves however much another submits. Within a tenant the oldest task comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Line", "Shares"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The tasks of one tenant that wait for one agent; `priority` is the highest among them, `head` the first in line."""

    agent: str
    tenant: str
    priority: int
    head: str


class Shares:
    """Attempts at work, and the limits on them: "agent:NAME", "tenant:NAME", "tenant:*" for every tenant without its own."""

    def __init__(self, running: Mapping[tuple[str, str], int], limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._agents: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        for (agent, tenant), number in running.items():
            self._agents[agent] += number
            self._tenants[tenant] += number

    def is_open(self, line: Line) -> bool:
        """Whether one more attempt of this line is within the limits."""
        of_agent = self._limits.get(f"agent:{line.agent}")
        of_tenant = self._limits.get(f"tenant:{line.tenant}", self._limits.get("tenant:*"))
        if of_agent is not None and self._agents[line.agent] >= of_agent:
            return False
        return of_tenant is None or self._tenants[line.tenant] < of_tenant

    def count(self, line: Line, number: int) -> None:
        """So many more attempts of this line are at work (fewer, when negative)."""
        self._agents[line.agent] += number
        self._tenants[line.tenant] += number

    def divide(self, lines: Sequence[Line], n: int) -> dict[Line, int]:
        """How many of n slots each line gets now; counted as taken. Only lines of the highest priority that is open get any."""
        given: Counter[Line] = Counter()
        while n > sum(given.values()):
            waiting = [line for line in lines if self.is_open(line)]
            if given:
                top = max(line.priority for line in given)
                waiting = [line for line in waiting if line.priority == top]
            if not waiting:
                break
            first = min(waiting, key=lambda line: (-line.priority, self._tenants[line.tenant], given[line], line.head))
            given[first] += 1
            self.count(first, 1)
        return dict(given)
