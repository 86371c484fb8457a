"""The clock that jumps."""

from __future__ import annotations

import math

import pytest

from tether.testing import FakeClock


def test_time_passes_only_by_jumps() -> None:
    """Time stands still until a jump, and a jump takes no time."""
    clock = FakeClock(5.0)
    assert (clock(), clock.now_s) == (5.0, 5.0)
    assert clock.jump(3600) == 3605.0 == clock()


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_time_goes_forward_and_stays_finite(seconds: float) -> None:
    """A monotonic clock refuses to go back or to infinity."""
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().jump(seconds)
