"""Dividing free slots: a pure decision over lines of waiting tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tether.store.sharing import Line, Shares


def line(tenant: str, agent: str = "mine", priority: int = 0, head: str = "") -> Line:
    """A line of waiting tasks."""
    return Line(agent=agent, tenant=tenant, priority=priority, head=head or tenant)


def test_equal_priorities_are_shared_equally() -> None:
    """Who has fewer attempts at work is served first, until all have the same."""
    shares = Shares({("mine", "a"): 3}, {})
    assert shares.divide([line("a"), line("b"), line("c")], 7) == {line("b"): 3, line("c"): 3, line("a"): 1}


def test_priority_goes_before_fairness() -> None:
    """All slots may go to the higher priority; lower ones wait for the next call."""
    assert Shares({("mine", "a"): 9}, {}).divide([line("a", priority=5), line("b")], 4) == {line("a", priority=5): 4}


def test_limits_are_kept_across_lines() -> None:
    """An agent's limit counts all tenants, a tenant's limit all agents, and * is for tenants without their own."""
    limits = {"agent:mine": 3, "tenant:a": 1, "tenant:*": 2}
    lines = [line("a"), line("b"), line("c"), line("b", "other")]
    given = Shares({("other", "b"): 1}, limits).divide(lines, 20)
    assert given[line("a")] == 1
    assert sum(given.values()) >= 3
    assert sum(n for where, n in given.items() if where.agent == "mine") <= 3
    assert sum(n for where, n in given.items() if where.tenant == "b") <= 1
    assert Shares({}, {"tenant:a": 0}).divide([line("a")], 3) == {}


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), min_size=1), st.integers(0, 60))
def test_nobody_starves(running: dict[str, int], n: int) -> None:
    """After a division at one priority no tenant has two more than another that waits and got nothing."""
    lines = [line(tenant) for tenant in running]
    given = Shares({("mine", tenant): number for tenant, number in running.items()}, {}).divide(lines, n)
    assert sum(given.values()) == n
    total = {tenant: running[tenant] + given.get(line(tenant), 0) for tenant in running}
    served = [total[where.tenant] for where in given]
    assert not served or max(served) <= min(total.values()) + 1
