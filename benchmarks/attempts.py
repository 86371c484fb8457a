"""What an attempt costs: time and CPU to its first line and to a ready built-in agent, starts a second, memory, 200 at once.

A real zygote, with this benchmark in the supervisor's place; BENCH_QUICK=1 measures fewer of everything. CPU is that of zygote,
init and agent together, and hardly depends on what else the machine does; times do. Memory is that of init and agent.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from facts import cpu_ms, load, may_open_more, memory_mb, tree_of
from rows import Row, median
from tether.agent import sandbox

if TYPE_CHECKING:
    from stage import Attempt, Stage

QUICK = os.environ.get("BENCH_QUICK") == "1"
ONE_BY_ONE, AT_ONCE, AHEAD, READY = (10, 40, 16, 5) if QUICK else (40, 200, 16, 15)
PATIENCE_S = 30.0
SLEEPER = "tether.testing.misbehave:sleep"
UNIQUE = ("Private_Clean", "Private_Dirty")
START_GOALS = {"cooperative": 15.0, "enforced": 25.0}
BUILTIN = {"model": "m", "provider": "openai", "tools": ["read_file", "write_file", "run_shell"], "window": 100_000}


def rows() -> Iterator[Row]:
    """Both isolations, as far as this machine has them; then a whole worker with the built-in agent."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "processes"))
    may_open_more()
    walls = ["cooperative"] if sandbox.probe()["why"].get("processes") else ["cooperative", "enforced"]
    for isolation in walls:
        yield from bare(isolation)
        yield from ready(isolation)
    yield from worked()


def bare(isolation: str) -> Iterator[Row]:
    """Attempts that print a line and sleep: one by one, then 200 at once."""
    from stage import stage

    with stage(isolation, entry=SLEEPER) as place:
        place.message(type(place.ready))
        times, cpu, memory = [], [], []
        for _ in range(ONE_BY_ONE):
            before = cpu_ms([place.zygote.pid])
            attempt, took = started(place, has_line)
            tree = tree_of(attempt.pid)
            cpu.append(cpu_ms([place.zygote.pid, *tree]) - before)
            memory.append(memory_mb(tree, *UNIQUE))
            end(place, attempt)
            times.append(took)
        goal = START_GOALS[isolation]
        yield Row(name=f"{isolation}: to the first line", value=median(times), unit="ms", goal=goal, note=f"median, {load()}")
        yield Row(name=f"{isolation}: to the first line, CPU", value=median(cpu), unit="ms CPU")
        yield Row(name=f"{isolation}: unique memory, bare", value=median(memory), unit="MB", goal=2)
        yield from at_once(place, isolation)


def at_once(place: Stage, isolation: str) -> Iterator[Row]:
    """200 attempts that all live at the same time; up to 16 orders under way."""
    own = [place.zygote.pid]
    memory, cpu, began = memory_mb(own, "Pss"), cpu_ms(own), time.perf_counter()
    attempts: list[Attempt] = []
    for number in range(AT_ONCE):
        attempts.append(place.order())
        if number >= AHEAD:
            awaited(place, attempts[number - AHEAD], has_line)
    for attempt in attempts:
        awaited(place, attempt, has_line)
    took = time.perf_counter() - began
    trees = [pid for attempt in attempts for pid in tree_of(attempt.pid)]
    each = (memory_mb([*own, *trees], "Pss") - memory) / AT_ONCE
    cpu = (cpu_ms([*own, *trees]) - cpu) / AT_ONCE
    yield Row(name=f"{isolation}: starts", value=AT_ONCE / took, unit="starts/s", goal=80, at_most=False, note=load())
    yield Row(name=f"{isolation}: CPU a start when pipelined", value=cpu, unit="ms CPU", note="80 starts/s on 2 cores are 25")
    yield Row(name=f"{isolation}: {AT_ONCE} at once, each adds", value=each, unit="MB", goal=2, note="share of all memory, PSS")
    for attempt in attempts:
        attempt.kill()


def ready(isolation: str) -> Iterator[Row]:
    """The built-in agent until its first model request knocks at the gateway's listener."""
    from stage import stage

    with stage(isolation, kind="builtin", entry=None, builtin=BUILTIN) as place:
        place.message(type(place.ready))
        times, cpu = [], []
        for _ in range(READY):
            before = cpu_ms([place.zygote.pid])
            attempt, took = knocked(place)
            cpu.append(cpu_ms([place.zygote.pid, *tree_of(attempt.pid)]) - before)
            end(place, attempt)
            times.append(took)
        note = f"its first model request, {load()}"
        yield Row(name=f"{isolation}: to a ready built-in agent", value=median(times), unit="ms", goal=60, note=note)
        yield Row(name=f"{isolation}: to a ready built-in agent, CPU", value=median(cpu), unit="ms CPU")


def worked() -> Iterator[Row]:
    """Memory of a built-in agent after six steps, in a whole worker, while it waits for the seventh answer."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "worker"))
    from site_of_workers import site, until
    from tether.testing.script import Fault, Reply, Request, call, reply
    from tether.testing.scripted import ScriptedModels

    def script(request: Request) -> Reply:
        if request.turn == 6:
            return reply(fault=Fault(kind="hang"))
        return reply(tools=[call("write_file", thought="step", path=f"{request.turn}.txt", content="word " * 200)])

    with ExitStack() as ending:
        models = ending.enter_context(ScriptedModels(script))
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        more = f'[models.default]\nupstream = "{models.base_url}"\nmodel = "scripted"\nfree = true\n'
        place = ending.enter_context(site(folder, agents={}, more=more, builtin=True))
        worker = place.add_worker()
        place.submit("autogpt", "write six files")
        until(lambda: len(models.ledger) == 7, what="the seventh model request")
        init = until(lambda: place.inits(worker), what="an attempt")[0]
        # The runner of the last tool may still be leaving.
        tree = until(lambda: len(found := tree_of(init)) == 2 and found, what="an init and its agent alone")
        yield Row(name="unique memory after 6 steps", value=memory_mb(tree, *UNIQUE), unit="MB", goal=15, note="built-in agent")
        yield Row(name="a worker with it, all processes", value=memory_mb(tree_of(worker.pid), "Pss"), unit="MB", note="PSS")


def started(place: Stage, done: Callable[[Attempt], bool]) -> tuple[Attempt, float]:
    """An attempt, and the milliseconds from its order until `done`."""
    began = time.perf_counter()
    attempt = place.order()
    awaited(place, attempt, done)
    return attempt, (time.perf_counter() - began) * 1000


def knocked(place: Stage) -> tuple[Attempt, float]:
    """A built-in attempt, and the milliseconds from its order until it asks its model for the first time."""
    outside = None if place.inside else socket.create_server(("127.0.0.1", 0))
    port = outside.getsockname()[1] if outside else None
    began = time.perf_counter()
    attempt = place.order(gateway={"host": "127.0.0.1", "port": port, "token": "tth_bench"}, builtin=BUILTIN)

    def has_knocked(attempt: Attempt) -> bool:
        attempt.read()
        doors = [outside] if outside else attempt.listeners[:1]
        return bool(doors and select.select(doors, [], [], 0)[0])

    awaited(place, attempt, has_knocked, outside)
    took = (time.perf_counter() - began) * 1000
    if outside is not None:
        outside.close()
    return attempt, took


def awaited(place: Stage, attempt: Attempt, done: Callable[[Attempt], bool], *also: socket.socket | None) -> None:
    """Serve zygote, init and agent until `done`, waking only for what they say."""
    deadline = time.monotonic() + PATIENCE_S
    while not done(attempt) or attempt.pid == 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"an attempt did not start; its zygote said: {place.zygote.tail()} {attempt.stderr.text()}")
        poll = select.poll()  # not select: with 200 attempts descriptors have large numbers
        for each in (place.zygote, attempt.stdout.fd, attempt.ctl, attempt.link, *attempt.listeners[:1], *also):
            if each is not None:
                poll.register(each, select.POLLIN)
        poll.poll(500)
        place.read()


def has_line(attempt: Attempt) -> bool:
    """Whether the agent printed its first line."""
    return bool(attempt.shows())


def end(place: Stage, attempt: Attempt) -> None:
    """Kill an attempt and wait until it is gone."""
    attempt.kill()
    place.gone(attempt)
