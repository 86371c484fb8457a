"""Eleven ways to hang, each ended on time with its state saved, while the neighbours go on."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import psycopg
import pytest

from site_of_workers import Site, site, until
from tether.client import TaskHandle
from tether.testing.misbehave import KINDS

#: Everyone but those that make themselves deaf to signals or run out of memory on the way.
PYTHON_STACKS = ("busy", "sleep", "pbkdf2", "regex", "stopped", "daemon")
_HONEST = {"walk": "honest:walk"}
_STEP_S = 2.0


def _agents() -> dict[str, str]:
    return {kind: f"tether.testing.misbehave:{kind}" for kind in KINDS} | _HONEST


def _submit_all(place: Site) -> tuple[dict[str, TaskHandle], list[TaskHandle]]:
    """All eleven, each in a step that may take 2 s, and three neighbours that walk all the while."""
    walking = {"steps": 60, "pause_s": 0.05}
    neighbours = [place.submit("walk", input=walking, max_attempts=1) for _ in range(3)]
    timeouts = {"step_s": _STEP_S, "idle_s": _STEP_S, "task_s": 20.0}
    bad = {kind: place.submit(kind, timeouts=timeouts, max_attempts=1) for kind in KINDS}
    return bad, neighbours


def _check(place: Site, bad: dict[str, TaskHandle], neighbours: list[TaskHandle]) -> None:
    for kind, handle in bad.items():
        task = place.settled(handle)
        assert task.state == "failed", f"{kind}: {task.state} {task.message}"
        # A memory balloon may burst at its limit before its time is over; that is an ending on time too.
        assert task.reason in ("step_timeout", "idle_timeout") or (kind == "balloon"), f"{kind}: {task.reason}"
        if task.reason == "agent_error" or task.reason == "resource_limit":
            continue
        dump = place.client.state(handle.id).dump
        assert dump is not None, kind
        assert dump["usage"], kind
        assert dump["processes"], f"{kind}: no facts of /proc"
        if kind in PYTHON_STACKS:
            assert "misbehave.py" in (dump["stacks"] or ""), f"{kind}: {dump['notes']}"
        ended = place.events(handle, "attempt_ended")[-1]
        assert ended["overshoot_ms"] < 5000, f"{kind}: {ended}"
    for handle in neighbours:
        task = place.settled(handle)
        assert task.state == "succeeded", f"{task.message}\n{place.log()}"
        assert len(task.attempts) == 1
    until(lambda: not place.survivors(), 5, f"the end of {place.survivors()}")


@pytest.mark.parametrize("isolation", ["auto", "cooperative"])
def test_eleven_misbehaviours_end_on_time(tmp_path: Path, isolation: str) -> None:
    """Whatever an agent does, its tree is gone after its limit, its state was saved, and its neighbours lose nothing."""
    with site(tmp_path, isolation=isolation, agents=_agents()) as place:
        place.add_worker()
        _check(place, *_submit_all(place))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_eleven_misbehaviours_end_while_the_store_is_locked(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Ten seconds without a store delay no kill: clocks and killing never touch it, and the journal catches up."""
    store = request.getfixturevalue("postgres_database") if database == "postgres" else None
    with site(tmp_path, store, agents=_agents(), lease_s=30.0) as place:
        place.add_worker()
        bad, neighbours = _submit_all(place)
        until(lambda: all(h.document().state == "running" for h in bad.values()), 30, "the start of all")
        locked = threading.Thread(target=_lock, args=(place, 10.0))
        locked.start()
        began = time.monotonic()
        time.sleep(0.5)
        until(lambda: not place.survivors() or time.monotonic() - began > 9.5, 12, "the end of the bad ones")
        locked.join()
        _check(place, bad, neighbours)


def _lock(place: Site, seconds: float) -> None:
    """Keep everybody from writing to the store."""
    url = place.settings.store_url
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        connection.close()
        return
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        time.sleep(seconds)
