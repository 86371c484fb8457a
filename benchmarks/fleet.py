"""From submit to the agent's first line over each broker, beside Celery on the same one; tasks back after their worker's death.

PostgreSQL with fsync on; the agent's first line is the time it writes into a file, with its process started for it.
The killed worker is on another host where we may pretend that (root), so that only its lease tells of its death.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from brokers import BROKERS, Broker
from rows import Row, median
from servers import Postgres
from site_of_workers import Site, site, until

__all__ = ["rows"]

_CODE = Path(__file__).resolve().parent / "fleet_agents"
_TASKS = int(os.environ.get("BENCH_TASKS", "40"))
_KILLED = 20
_CLONE_NEWUTS = 0x04000000
_TOML = """\
[agents.line]
entry = "lines:line"
code_dir = "{code}"
writable = ["{folder}"]
[agents.stay]
entry = "lines:stay"
code_dir = "{code}"
writable = ["{folder}"]
"""


def _book(folder: Path) -> Path:
    outside = folder / "outside"
    outside.mkdir(parents=True)
    outside.chmod(0o777)
    book = outside / "book.txt"
    book.touch()
    book.chmod(0o666)
    return book


def _lines(book: Path) -> list[list[str]]:
    return [line.split() for line in book.read_text().splitlines()]


def _toml(book: Path, broker: Broker | None) -> str:
    queue = ""
    if broker is not None:
        queue = "[queue]\n" + "".join(f"{key} = {value!r}\n" for key, value in broker.settings.items() if value)
    return _TOML.format(code=_CODE, folder=book.parent) + queue


def _latency(place: Site, book: Path) -> list[float]:
    """Milliseconds from before submit to the agent's first line, one task at a time."""
    took: list[float] = []
    for number in range(_TASKS + 5):
        begun = time.time()
        place.submit("line", f"{number}", input={"book": str(book)})
        found = until(lambda number=number: [words for words in _lines(book) if words[0] == str(number)], what="a line")
        took.append((float(found[0][1]) - begun) * 1000)
        until(lambda: not place.client.workers()[0].leases, what="a free slot")
    return took[5:]


@contextlib.contextmanager
def _another_host() -> Iterator[None]:
    """What is started in here believes that its host has another name."""
    libc = ctypes.CDLL(None, use_errno=True)
    ours = os.open("/proc/self/ns/uts", os.O_RDONLY)
    if libc.unshare(_CLONE_NEWUTS) == 0:
        socket.sethostname("elsewhere")
    try:
        yield
    finally:
        libc.setns(ours, _CLONE_NEWUTS)
        os.close(ours)


def _back(place: Site, book: Path) -> float:
    """Seconds until the tasks of a SIGKILLed worker run again on another."""
    with _another_host():
        first = place.add_worker()
    for number in range(_KILLED):
        place.submit("stay", f"stay-{number}", input={"book": str(book)})
    until(lambda: len(_lines(book)) >= _KILLED, 60, "work")
    place.add_worker()
    begun = time.time()
    first.kill()
    first.wait(10)
    until(lambda: len({w[0] for w in _lines(book) if float(w[1]) > begun}) == _KILLED, 60, "work again")
    last = max(float(words[1]) for words in _lines(book))
    for handle in [place.client.handle(task.id) for task in place.client.tasks("running", limit=200).data]:
        handle.cancel()
    return last - begun


def _celery(broker: Broker, folder: Path) -> float | None:
    """The same for a no-op Celery task in a prefork worker, no process started for it; None for a broker without an easy URL."""
    url = broker.settings["url"]
    if url.startswith("sqs"):
        return None
    book = folder / "celery.txt"
    book.touch()
    env = {**os.environ, "BROKER": url, "PYTHONPATH": str(_CODE)}
    command = [sys.executable, "-m", "celery", "-A", "celery_lines", "worker", "-c", "2", "--loglevel", "info"]
    with (folder / "celery.log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        until(lambda: "ready." in (folder / "celery.log").read_text(), 60, "a Celery worker")
        sender = [sys.executable, str(_CODE / "celery_lines.py"), str(book), str(_TASKS)]
        subprocess.run(sender, env=env, check=True, timeout=120)
        took = [(float(line[2]) - float(line[1])) * 1000 for line in _lines(book)]
        return median(took[5:])
    finally:
        worker.terminate()
        worker.wait(20)


def _measure(name: str, broker: Broker | None, database: Callable[[], str]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="tether-bench-") as where:
        folder = Path(where)
        folder.chmod(0o755)
        book = _book(folder)
        with site(folder, database(), agents={}, slots=40, lease_s=6.0, more=_toml(book, broker)) as place:
            place.add_worker()
            goal = 20.0 if name in ("redis", "rabbitmq") else None
            yield Row(name=f"{name}: submit to first line", value=median(_latency(place, book)), unit="ms", goal=goal)
        if broker is not None and (celery := _celery(broker, folder)) is not None:
            yield Row(name=f"{name}: Celery, submit to first line", value=celery, unit="ms", note="no process start")
    for kind, lease_s, goal in (("default", 6.0, 8.0), ("tuned", 2.0, 3.0)):
        with tempfile.TemporaryDirectory(prefix="tether-bench-") as where:
            folder = Path(where)
            folder.chmod(0o755)
            book = _book(folder)
            with site(folder, database(), agents={}, slots=40, lease_s=lease_s, more=_toml(book, broker)) as place:
                yield Row(name=f"{name}: {_KILLED} tasks back, {kind}", value=_back(place, book), unit="s", goal=goal)


def rows() -> Iterator[Row]:
    """Each broker in turn, and none."""
    picked = os.environ.get("BENCH_BROKERS", "none redis rabbitmq sqs").split()
    server = Postgres(durable=True).start()
    try:
        for name in picked:
            with contextlib.ExitStack() as stack:
                broker = None
                if name != "none":
                    broker = BROKERS[name]()
                    stack.callback(broker.close)
                    broker.start()
                yield from _measure(name, broker, server.database)
    finally:
        server.stop()
