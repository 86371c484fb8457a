"""One measured figure, and the ways to take it that several benchmarks share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Row", "cpu_ms", "median"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure with its goal; at_most: the goal is an upper bound (else a lower one); goal None: only for the record."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def median(values: Sequence[float]) -> float:
    """The median; of an even number of values the upper one of the middle two."""
    return sorted(values)[len(values) // 2]


def cpu_ms(code: str) -> float:
    """Milliseconds of CPU, user and system, that a fresh interpreter takes to run `code`."""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise OSError(f"python -c {code!r} ended with {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000
