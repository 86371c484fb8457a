"""workers, hold, holds, release."""

from __future__ import annotations

from played import PlayedWorker
from terminal import Terminal


def test_workers_lists_those_that_live(terminal: Terminal, worker: PlayedWorker) -> None:
    """Each with its slots, leases and agents; nobody at all is exit code 1."""
    terminal.run("submit", "x")
    worker.claim()
    [row] = terminal.run("workers", "--json").json["data"]
    assert (row["id"], row["state"], row["slots"], row["leases"], row["agents"]) == (worker.id, "live", 4, 1, ["autogpt"])
    assert worker.id in terminal.run("workers").out
    worker.store.retire_worker(worker.id)
    ended = terminal.run("workers")
    assert (ended.code, "tether worker" in ended.out) == (1, True)


def test_a_hold_stops_claims_until_it_is_released(terminal: Terminal, worker: PlayedWorker) -> None:
    """hold names what it stops, holds lists it, release lets it go on; an unknown id is an error."""
    task_id = terminal.run("submit", "x").out.strip()
    made = terminal.run("hold", "claims", "--agent", "autogpt", "--note", "the bill", "--json").json
    assert (made["stop"], made["agent"], made["note"]) == ("claims", "autogpt", "the bill")
    assert worker.store.claim(worker.id, ["autogpt"], 1) == []
    assert "no claims of agent autogpt" in terminal.run("holds").out
    assert terminal.run("release", made["id"]).code == 0
    assert worker.claim().task_id == task_id
    assert terminal.run("release", made["id"]).code == 1
    assert terminal.run("hold", "everything").code == 2
