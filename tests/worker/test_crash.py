"""What a worker leaves when it dies, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from site_of_workers import site, until


@pytest.mark.parametrize("isolation", ["auto", "cooperative"])
def test_a_dead_supervisor_takes_its_attempts_along(tmp_path: Path, isolation: str) -> None:
    """SIGKILL of the supervisor: every process of its attempts is gone soon, daemons too, and they cannot spend."""
    agents = {kind: f"tether.testing.misbehave:{kind}" for kind in ("busy", "daemon", "ignore_signals")}
    with site(tmp_path, isolation=isolation, agents=agents) as place:
        worker = place.add_worker()
        handles = [place.submit(agent) for agent in agents]
        until(lambda: all(place.events(handle, "output") for handle in handles), 40, "the start of all")
        gateway, zygotes = place.gateway(worker), place.zygotes(worker)
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
        until(lambda: not place.survivors(), 5, f"the end of {place.survivors()}")
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in gateway + zygotes), 5, "the end of its children")


@pytest.mark.parametrize("isolation", ["auto", "cooperative"])
def test_a_supervisor_and_its_zygotes_killed_together_take_the_attempts_along(tmp_path: Path, isolation: str) -> None:
    """Nobody is left to walk the trees but each attempt's init, which ends its own, daemons included, even if it was stopped."""
    agents = {kind: f"tether.testing.misbehave:{kind}" for kind in ("busy", "daemon")}
    with site(tmp_path, isolation=isolation, agents=agents) as place:
        worker = place.add_worker()
        handles = [place.submit(agent) for agent in agents]
        until(lambda: all(place.events(handle, "output") for handle in handles), 40, "the start of all")
        zygotes, inits = place.zygotes(worker), place.inits(worker)
        for pid in zygotes + inits[:1]:
            os.kill(pid, signal.SIGSTOP)
        worker.kill()
        for pid in zygotes:
            os.kill(pid, signal.SIGKILL)
        worker.wait(5)
        until(lambda: not place.survivors(), 10, "the end of all attempts")


def test_a_dump_survives_the_death_of_its_supervisor_and_of_the_store(tmp_path: Path) -> None:
    """Killed while the store was locked: the dump was on disk before, and the next worker imports it."""
    with site(tmp_path, agents={"sleep": "tether.testing.misbehave:sleep"}) as place:
        worker = place.add_worker()
        handle = place.submit("sleep", timeouts={"idle_s": 2.0}, max_attempts=1)
        until(lambda: place.events(handle, "output"), 40, "its start")
        lock = sqlite3.connect(place.settings.store_url.removeprefix("sqlite:///"), isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        spool = place.settings.home / "spool"
        until(lambda: list(spool.glob("*/*.json")), 15, "a dump on disk")
        until(lambda: not place.survivors(), 5, "the end of the attempt")
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
        lock.execute("ROLLBACK")
        lock.close()
        assert not place.events(handle, "state_dumped")
        place.add_worker()
        dumped = until(lambda: place.events(handle, "state_dumped"), 20, "the import")
        assert "misbehave.py" in dumped[0]["stacks"]
        assert dumped[0]["trigger"] == "idle_timeout"


def test_a_worker_that_was_cut_off_stops_its_attempts_before_others_start_them(tmp_path: Path, postgres_database: str) -> None:
    """Without its lease a worker freezes what it runs; a second worker goes on from the checkpoint; no step is done by both."""
    with site(tmp_path, postgres_database, agents={"walk": "honest:walk"}, lease_s=2.0) as place:
        first = place.add_worker()
        handle = place.submit("walk", input={"steps": 60, "pause_s": 0.1})
        until(lambda: (handle.document().partial or {}).get("walked", 0) > 2, 40, "a few steps")
        # A stopped supervisor neither beats nor notices; its agent goes on until the lease token is refused.
        first.send_signal(signal.SIGSTOP)
        place.add_worker()
        until(lambda: len(handle.document().attempts) == 2, 40, "the second attempt")
        time.sleep(0.5)
        first.send_signal(signal.SIGCONT)
        task = handle.wait(until="final", timeout=60)
        assert task.state == "succeeded", task.message
        steps = [number for number, _ in task.result["steps"]]
        assert steps == list(range(60))
        by = [attempt for _, attempt in task.result["steps"]]
        assert by == sorted(by), "an old attempt wrote after a newer one"
        until(lambda: not place.survivors(), 10, "the end of all attempts")
