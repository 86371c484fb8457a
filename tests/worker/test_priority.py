"""Who is served first on a busy machine."""

from __future__ import annotations

import os
from pathlib import Path

from site_of_workers import site, until


def nice(pid: int) -> int:
    """The nice value of a process."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_the_supervisor_comes_before_what_it_watches(tmp_path: Path) -> None:
    """Where the worker may, it and its gateway are preferred; zygotes and attempts never are."""
    with site(tmp_path, agents={"sleep": "tether.testing.misbehave:sleep"}) as place:
        worker = place.add_worker()
        place.submit("sleep")
        agent = until(lambda: [pid for init in place.inits(worker) for pid in place.children(init)], what="the agent")[0]
        first = -10 if os.geteuid() == 0 else 0
        assert [nice(worker.pid), nice(place.gateway(worker)[0])] == [first, first]
        assert [nice(place.zygotes(worker)[0]), nice(place.inits(worker)[0]), nice(agent)] == [0, 0, 0]
