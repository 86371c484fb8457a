"""Two releases of workers side by side on one store: the files of this one, and a copy that says it is the next."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import tether
from site_of_workers import Site, site, until
from tether.client import TaskHandle

_STEPS = 40


def _next_release(folder: Path) -> dict[str, str]:
    """A copy of this release with a minor version more; the variables that make a worker use it."""
    home = Path(tether.__file__).parent
    copy = folder / "next" / "tether"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("__pycache__"))
    major, minor = tether.__version__.split(".")[:2]
    text = (copy / "__init__.py").read_text()
    named = re.sub(r'^__version__ = ".*"$', f'__version__ = "{major}.{int(minor) + 1}.0"', text, flags=re.MULTILINE)
    assert named != text
    (copy / "__init__.py").write_text(named)
    return {**os.environ, "PYTHONPATH": str(copy.parent)}


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def _walked(handle: TaskHandle) -> int:
    return (handle.document().partial or {}).get("walked", 0)


def _long(place: Site) -> TaskHandle:
    return place.submit("walk", input={"steps": _STEPS, "pause_s": 0.1})


def test_a_task_goes_on_only_where_its_checkpoint_is_understood(tmp_path: Path, postgres_database: str) -> None:
    """What the next release checkpointed waits for it while the older one works beside; the other way round anybody goes on."""
    newer = _next_release(tmp_path)
    with site(tmp_path, postgres_database, agents={"walk": "honest:walk", "greet": "honest:greet"}) as place:
        old = place.add_worker()
        began_old = _long(place)
        until(lambda: _walked(began_old) >= 2, what="steps of the older release")
        _stop(old)
        new = place.add_worker(env=newer)
        assert len({row.version for row in place.client.workers()} - {tether.__version__}) == 1
        began_new = _long(place)
        until(lambda: _walked(began_new) >= 2, what="steps of the next release")
        assert len(began_old.document().attempts) == 2
        _stop(new)
        place.add_worker()
        assert place.submit("greet", "hello").wait(timeout=30).state == "succeeded"
        assert [(h.document().state, len(h.document().attempts)) for h in (began_old, began_new)] == [
            ("queued", 2),
            ("queued", 1),
        ]
        place.add_worker(env=newer)
        tasks = [handle.wait(timeout=60) for handle in (began_old, began_new)]
        assert [task.state for task in tasks] == ["succeeded"] * 2
        for task in tasks:
            steps, attempts = zip(*task.result["steps"], strict=True)
            assert list(steps) == list(range(_STEPS))
            assert list(attempts) == sorted(attempts)
