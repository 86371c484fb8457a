"""What the parts of the supervisor that look after one attempt may use; built once by the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tether.config import Settings
from tether.worker.attempt import LiveAttempt
from tether.worker.gateway import GatewayProcess
from tether.worker.hiding import Hiding
from tether.worker.holding import Holding
from tether.worker.journal import Journal
from tether.worker.keeping import Keeper
from tether.worker.loop import Loop
from tether.worker.outcome import Outcome
from tether.worker.results import ResultChecks
from tether.worker.spool import Spool

__all__ = ["End", "Surroundings"]

T = TypeVar("T")


class End(Protocol):
    """Ends an attempt: `dump` makes its full state durable first. A second call for the same attempt does nothing."""

    def __call__(self, attempt: LiveAttempt, outcome: Outcome, *, dump: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Loop, journal, spool, gateway, configuration; `end` an attempt, `rearm` its timer after its clocks changed."""

    settings: Settings
    loop: Loop
    journal: Journal
    spool: Spool
    gateway: GatewayProcess
    keeper: Keeper
    hiding: Hiding
    holding: Holding
    threads: ThreadPoolExecutor
    checks: ResultChecks
    end: End
    rearm: Callable[[LiveAttempt], None]
    worker_id: Callable[[], str]

    def offload(self, work: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Do bounded blocking work in a thread; `then` gets its answer, or what it raised, in the loop."""

        def done(future: Future[T]) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                return
            answer: Any = error if error is not None else future.result()
            self.loop.post(lambda: then(answer))

        self.threads.submit(work).add_done_callback(done)
