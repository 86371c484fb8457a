"""Every clock of one attempt, pure: values in, the next deadline out; it reads no clock and touches no process.

Active time is what counts against task_s: the time the attempt may run, without the spans in which we froze it.
Waiting for an upstream that answers 429 or 503 stops the step clock only. A tool or model call in flight is a sign of life.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Clocks", "Deadline"]


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment that must not pass: level tool | step | task | idle, limit in seconds, what was running (a tool's call id)."""

    level: str
    at_s: float
    limit_s: float
    what: str = ""


@dataclass(kw_only=True)
class Clocks:
    """The clocks of one attempt; all times in seconds on one monotonic clock.

    task_left_s: active seconds the task has left when this attempt starts.
    """

    started_s: float
    task_s: float
    task_left_s: float
    step_s: float
    idle_s: float
    life_s: float = field(init=False)
    step_started_s: float | None = None
    step_stopped_s: float = 0.0
    waiting_since_s: float | None = None
    frozen_since_s: float | None = None
    frozen_s: float = 0.0
    calls: int = 0
    tools: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def __post_init__(self) -> None:
        self.life_s = self.started_s

    def begin(self, now: float) -> None:
        """The attempt's processes are about to start: time spent preparing was not the agent's."""
        self.started_s = self.life_s = now

    def step_started(self, now: float) -> None:
        """A think/act cycle begins; the one before it is over."""
        self.step_started_s, self.step_stopped_s = now, 0.0
        if self.waiting_since_s is not None:
            self.waiting_since_s = now
        self.life_s = now

    def step_ended(self, now: float) -> None:
        """The cycle is over and none runs."""
        self.step_started_s = None
        self.life_s = now

    def tool_started(self, now: float, call_id: str, limit_s: float) -> None:
        """A tool call begins; it may take `limit_s` seconds."""
        self.tools[call_id] = (now, limit_s)

    def tool_ended(self, now: float, call_id: str) -> None:
        """The tool call is over."""
        self.tools.pop(call_id, None)
        self.life_s = now

    def alive(self, now: float) -> None:
        """A sign of life: a message, output, a call."""
        self.life_s = now

    def call_started(self, now: float) -> None:
        """A model call is in flight."""
        self.calls += 1
        self.life_s = now

    def call_ended(self, now: float) -> None:
        """A model call came back."""
        self.calls = max(0, self.calls - 1)
        self.life_s = now
        if not self.calls:
            self.waiting(now, on=False)

    def waiting(self, now: float, *, on: bool) -> None:
        """The gateway waits for an upstream that is overloaded (or no longer does)."""
        if on and self.waiting_since_s is None:
            self.waiting_since_s = now
        elif not on and self.waiting_since_s is not None:
            self.step_stopped_s += now - self.waiting_since_s
            self.waiting_since_s = None

    def freeze(self, now: float) -> None:
        """We stopped the attempt: no clock runs."""
        if self.frozen_since_s is None:
            self.frozen_since_s = now

    def thaw(self, now: float) -> None:
        """We let it go on: every deadline moves by the time it was stopped."""
        if self.frozen_since_s is None:
            return
        gone = now - self.frozen_since_s
        self.frozen_since_s = None
        self.frozen_s += gone
        self.life_s += gone
        self.tools = {call: (start + gone, limit) for call, (start, limit) in self.tools.items()}
        if self.step_started_s is not None:
            self.step_started_s += gone
        if self.waiting_since_s is not None:
            self.waiting_since_s += gone

    def limit(self, task_s: float, step_s: float, idle_s: float) -> None:
        """The task's timeouts were changed while it runs; they hold from now on."""
        self.task_left_s += task_s - self.task_s
        self.task_s, self.step_s, self.idle_s = task_s, step_s, idle_s

    def active_s(self, now: float) -> float:
        """Seconds this attempt was active so far."""
        end = now if self.frozen_since_s is None else self.frozen_since_s
        return max(0.0, end - self.started_s - self.frozen_s)

    def next(self) -> Deadline | None:
        """The deadline that comes first, or None while the attempt is frozen."""
        if self.frozen_since_s is not None:
            return None
        return min(self._deadlines(), key=lambda deadline: deadline.at_s)

    def due(self, now: float) -> Deadline | None:
        """The first deadline that has passed at `now`."""
        first = self.next()
        return first if first is not None and first.at_s <= now else None

    def last_s(self) -> float:
        """When the attempt must be over whatever happens: the task's deadline."""
        return self.started_s + self.frozen_s + self.task_left_s

    def _deadlines(self) -> list[Deadline]:
        found = [Deadline(level="task", at_s=self.last_s(), limit_s=self.task_s)]
        if self.step_started_s is not None and self.waiting_since_s is None:
            at = self.step_started_s + self.step_stopped_s + self.step_s
            found.append(Deadline(level="step", at_s=at, limit_s=self.step_s))
        found += [
            Deadline(level="tool", at_s=start + limit, limit_s=limit, what=call) for call, (start, limit) in self.tools.items()
        ]
        if not self.calls and not self.tools:
            found.append(Deadline(level="idle", at_s=self.life_s + self.idle_s, limit_s=self.idle_s))
        return found
