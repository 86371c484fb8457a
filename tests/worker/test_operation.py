"""What operators rely on: signs of life, drain, holds."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from site_of_workers import Site, site, until
from tether.store import open_store
from tether.testing import ScriptedModels, reply

_ASKS = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.counted]
entry = "counted:counted"
code_dir = "{code}"
writable = ["{folder}"]
"""


def _signs(place: Site, kind: str) -> list[Path]:
    return list((place.settings.home / "workers").glob(f"*.{kind}"))


def _is_quiet(models: ScriptedModels) -> bool:
    """Whether no call comes for a second."""
    seen = len(models.ledger)
    try:
        models.wait_for(lambda entries: len(entries) > seen, 1.0)
    except TimeoutError:
        return True
    return False


def test_a_worker_shows_that_it_lives_and_takes_work(tmp_path: Path) -> None:
    """Both files stay young while it works; ready goes when it drains, alive when it ends."""
    with site(tmp_path, agents={"walk": "honest:walk"}) as place:
        worker = place.add_worker()
        [ready] = until(lambda: _signs(place, "ready"), what="a sign")
        [alive] = until(lambda: _signs(place, "alive"), what="a sign")
        first = ready.stat().st_mtime
        until(lambda: ready.stat().st_mtime > first, what="a younger sign")
        handle = place.submit("walk", input={"steps": 500, "pause_s": 0.05})
        until(lambda: place.events(handle, "checkpoint_saved"), what="a checkpoint")
        worker.send_signal(signal.SIGTERM)
        until(lambda: not ready.exists(), what="the end of readiness")
        worker.wait(30)
        assert not alive.exists()
        task = handle.document()
        assert (task.state, [attempt.reason for attempt in task.attempts]) == ("queued", ["operator"])


def test_a_hold_on_calls_reaches_running_attempts_within_a_second(tmp_path: Path) -> None:
    """No further model call leaves while it is in force; released, the attempt goes on."""
    book = tmp_path / "outside" / "book.txt"
    book.parent.mkdir()
    book.parent.chmod(0o777)
    book.touch()
    book.chmod(0o666)
    code = Path(__file__).parents[1] / "chaos" / "agents"
    with ScriptedModels(lambda request: reply(f"yes {request.asked}")) as models:
        more = _ASKS.format(upstream=models.base_url, code=code, folder=book.parent)
        with site(tmp_path, agents={}, more=more) as place:
            place.add_worker()
            given = {"book": str(book), "steps": 400, "ticks": 1}
            handle = place.submit("counted", input=given, budget={"max_llm_calls": 1000})
            until(lambda: len(models.ledger) > 2, what="calls")
            store = open_store(place.settings.store_url)
            hold = store.hold(stop="calls", agent="counted", note="stop")
            held_s = time.time()
            until(lambda: _is_quiet(models), 10, "the end of calls")
            late_s = max(entry.at_s for entry in models.ledger) - held_s
            assert late_s <= 1.0, late_s
            seen = len(models.ledger)
            store.release(hold.id)
            store.close()
            until(lambda: len(models.ledger) > seen, what="further calls")
            handle.cancel()
            handle.wait()
