"""How attempts end under stress: 200 in one worker, a tenth of them burning CPU, all past their deadline within seconds.

Each has its deadline 25 ms later than it would by its start alone (BENCH_APART_MS), so that the load does not grow with the speed
of starting. Overshoot is from the deadline to the last process gone, as the journal has it. Then the supervisor is killed under a
hundred attempts, and the last of their processes is waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facts import cpu_ms, load, may_open_more, tree_of
from rows import Row, median

if TYPE_CHECKING:
    from site_of_workers import Site
    from tether.client import TaskHandle

ATTEMPTS, BURNERS, ORPHANED = 200, 20, 100
TASK_S, WHOLE_S, DEAD_S = 25.0, 90.0, 10.0
APART_S = float(os.environ.get("BENCH_APART_MS", "25")) / 1000


def rows() -> Iterator[Row]:
    """A worker with 200 slots on SQLite, with the walls this machine has."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "worker"))
    from site_of_workers import site, until

    may_open_more()
    agents = {kind: f"tether.testing.misbehave:{kind}" for kind in ("busy", "sleep")}
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), slots=ATTEMPTS, agents=agents, lease_s=30) as place:
        worker = place.add_worker()
        until(lambda: len(place.zygotes(worker)) == len(agents), what="the zygotes")
        yield from overran(place, worker.pid)
        yield from orphaned(place, worker.pid)


def overran(place: Site, worker: int) -> Iterator[Row]:
    """200 attempts until all are ended by their deadline."""
    cpu, began = cpu_ms([worker]), time.monotonic()
    handles = [
        place.submit("sleep" if n % (ATTEMPTS // BURNERS) else "busy", timeouts={"task_s": TASK_S + n * APART_S})
        for n in range(ATTEMPTS)
    ]
    most, took = most_at_once(place, handles, began)
    started = cpu_ms([worker]) - cpu
    for handle in handles:
        place.settled(handle, max(WHOLE_S - (time.monotonic() - began), 1))
    whole = cpu_ms([worker]) - cpu
    ends = [end for end in told(place, handles, "attempt_ended") if end["killed"]]
    late = sorted(float(end["overshoot_ms"]) for end in ends)
    durable = sorted(float(end["dump_ms"]) for end in ends if end["dump_ms"] is not None)
    ended_ms = sorted(event.at_ms for handle in handles for event in handle.events() if event.type == "attempt_ended")
    a_second = len(ended_ms) / max((ended_ms[-1] - ended_ms[0]) / 1000, 0.001)
    with_stacks = sum(bool(dump["stacks"]) for dump in told(place, handles, "state_dumped"))
    note = f"{len(late)} killed at their deadline, {a_second:.0f} a second, {most} at once, {BURNERS} burning, {load()}"
    yield Row(name="overshoot, median", value=median(late), unit="ms", goal=50, note=note)
    yield Row(name="overshoot, 99th percentile", value=late[int(len(late) * 0.99)], unit="ms", goal=1000)
    yield Row(name="dump durable", value=median(durable), unit="ms", goal=100, note=f"median of {len(durable)}")
    share = with_stacks / max(len(ends), 1) * 100
    yield Row(name="kills with Python stacks", value=share, unit="%", goal=99, at_most=False, note=f"of {len(ends)}")
    yield Row(name="processes left", value=len(place.survivors()), unit="processes", goal=0)
    yield Row(name="from the first submission until all ran", value=took, unit="s", note="burners included")
    yield Row(name="supervisor, to start an attempt", value=started / ATTEMPTS, unit="ms CPU", note="claim, start, journal")
    yield Row(
        name="supervisor, to end an attempt", value=(whole - started) / ATTEMPTS, unit="ms CPU", note="and watch it for 20 s"
    )


def most_at_once(place: Site, handles: Sequence[TaskHandle], began: float) -> tuple[int, float]:
    """The most attempts that ran at the same time before the first deadline, and seconds until they did."""
    most, took = 0, 0.0
    while most < len(handles) and time.monotonic() - began < TASK_S - 1:
        running = len(place.client.tasks(state=["running"], limit=ATTEMPTS).data)
        if running > most:
            most, took = running, time.monotonic() - began
        time.sleep(0.1)
    return most, took


def told(place: Site, handles: Sequence[TaskHandle], kind: str) -> list[dict[str, Any]]:
    """The data of all events of a kind."""
    return [event for handle in handles for event in place.events(handle, kind)]


def orphaned(place: Site, worker: int) -> Iterator[Row]:
    """A hundred attempts whose supervisor is killed."""
    from site_of_workers import until

    for number in range(ORPHANED):
        place.submit("sleep" if number % 10 else "busy", timeouts={"task_s": 600})
    until(lambda: len(place.survivors()) >= ORPHANED, WHOLE_S, f"{ORPHANED} attempts")
    watched = pidfds([pid for zygote in place.zygotes(place.workers[0]) for pid in tree_of(zygote)])
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    left = gone(watched, began + DEAD_S)
    took = time.monotonic() - began
    place.workers[0].wait(DEAD_S)
    note = f"{ORPHANED} attempts, {len(watched)} processes, {load()}"
    yield Row(name="supervisor SIGKILLed, all attempts dead", value=took, unit="s", goal=1, note=note)
    yield Row(name="processes left then", value=left + len(place.survivors()), unit="processes", goal=0)


def pidfds(pids: Sequence[int]) -> list[int]:
    """Descriptors that become readable when the processes are gone."""
    found: list[int] = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
    return found


def gone(watched: Sequence[int], deadline: float) -> int:
    """Wait for these processes; how many are still there at the deadline."""
    poll = select.poll()
    for pidfd in watched:
        poll.register(pidfd, select.POLLIN)
    left = set(watched)
    while left and time.monotonic() < deadline:
        for pidfd, _ in poll.poll(100):
            poll.unregister(pidfd)
            left.discard(pidfd)
            os.close(pidfd)
    for pidfd in left:
        os.close(pidfd)
    return len(left)
