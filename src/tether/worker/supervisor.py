"""The supervisor: claims become attempts, deadlines become endings, wishes become both; it runs no agent code.

The main thread is the loop with every clock and every kill and never touches the store; the journal thread writes,
the heart thread renews the leases, the claims thread fetches work. Signals only enqueue.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tether
from tether.config import Settings
from tether.errors import TetherError
from tether.lifecycle import Reason
from tether.store import open_store
from tether.store.rows import Claim, Hold, Intent
from tether.worker import launching, processes, sweeping
from tether.worker.attempts import Attempts
from tether.worker.gateway import GatewayProcess
from tether.worker.hiding import Hiding
from tether.worker.holding import Holding
from tether.worker.journal import Journal
from tether.worker.keeping import Keeper
from tether.worker.leases import Claims, Heart, boottime_s, new_worker
from tether.worker.loop import Loop, now_s
from tether.worker.outcome import Outcome
from tether.worker.release import release_number
from tether.worker.results import ResultChecks
from tether.worker.signs import Signs
from tether.worker.spool import Spool
from tether.worker.surroundings import Surroundings
from tether.worker.wakeups import WakeUps
from tether.worker.wishes import Wishes
from tether.worker.zygotes import Zygotes

if TYPE_CHECKING:
    from tether.store import Store

__all__ = ["Supervisor", "serve"]

log = logging.getLogger("tether.worker")
_OUTPUT_EVERY_S = 0.5
_LEASE_LOOK_S = 0.1
_SIGN_S = 1.0
_LEASE_MARGIN_S = 0.5
_THREADS = 8


class Supervisor:
    """One worker process. `serve` returns the exit code after a drain, or after `idle_exit_s` seconds without work."""

    def __init__(self, settings: Settings, store: Store, *, slots: int | None = None, idle_exit_s: float | None = None) -> None:
        self._settings = settings
        self._store = store
        self._slots = slots or settings.worker.slots
        self._idle_exit_s = idle_exit_s
        self._idle_since_s = now_s()
        self._lock = threading.Lock()
        self._taken = 0
        self._parked = 0
        self._lease_until_s = 0.0
        self._draining = False
        self._held = False
        self._agents = tuple(settings.worker.agents) or tuple(settings.agent_names())
        self._me = new_worker(self._slots, self._agents, tether.__version__)
        self._loop = Loop()
        self._signs = Signs(settings.home / "workers", self._me.id)
        self._spool = Spool(settings.home / "spool", self._me.id)
        self._hiding = Hiding(settings)
        self._journal = Journal(store, self._loop.post, self._spool, self._hiding)
        self._gateway = GatewayProcess(
            self._loop,
            launching.configure_packet(settings),
            lambda packet: self._attempts.reports.said(packet),
            lambda restart: self._attempts.reports.lost(restart),
        )
        self._zygotes = Zygotes(self._loop, settings, self._end_orphans)
        around = Surroundings(
            settings=settings,
            loop=self._loop,
            journal=self._journal,
            spool=self._spool,
            gateway=self._gateway,
            keeper=Keeper(settings, self._hiding),
            hiding=self._hiding,
            holding=Holding(settings),
            threads=ThreadPoolExecutor(_THREADS, thread_name_prefix="offload"),
            checks=ResultChecks(),
            end=lambda attempt, outcome, *, dump: self._attempts.end(attempt, outcome, dump=dump),
            rearm=lambda attempt: self._attempts.rearm(attempt),
            worker_id=lambda: self._me.id,
        )
        self._around = around
        self._attempts = Attempts(around, self._zygotes, self._freed, self._given_away)
        self._wishes = Wishes(around, self._attempts)
        self._zygotes.report_to(self._attempts)
        self._wakeups = WakeUps(settings, store, self, self._agents)
        self._enlist()

    def serve(self) -> int:
        """Work until SIGTERM or SIGINT (drain, twice: at once), or until idle for long enough; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._loop.post(self.drain))
        processes.hide()
        processes.go_first()
        processes.adopt_orphans()
        self._heart.start()
        self._gateway.start()
        self._zygotes.warm(self._warm_agents())
        self._journal.start()
        self._claims.start()
        self._wakeups.start()
        self._every(_OUTPUT_EVERY_S, self._attempts.flush_output)
        self._every(_SIGN_S, self._signs.alive)
        self._every(_LEASE_LOOK_S, self._look_at_lease)
        self._every(_OUTPUT_EVERY_S, self._look_whether_done)
        self._every(sweeping.EVERY_S, self._sweep)
        log.info("worker %s serves %s with %d slots", self._me.id, ", ".join(self._agents), self._slots)
        self._loop.turn_until_ended()
        self._close()
        return 0

    # --- what the lease threads tell (their threads) ------------------------------------------------------------------

    @property
    def free_slots(self) -> int:
        """Slots no attempt has (a parked one has none); none while the lease is in doubt."""
        if self._draining or boottime_s() > self._lease_until_s - _LEASE_MARGIN_S:
            return 0
        return self._slots - self._taken + self._parked

    def look(self, timeout_s: float) -> bool:
        """A message said that there is work: look now; False when it should be given to another worker."""
        return self._claims.look(timeout_s)

    def renewed(self, until_s: float) -> None:
        """The lease holds until that boot time."""
        self._lease_until_s = until_s
        self._signs.ready()

    def given_up(self) -> None:
        """Another worker took our tasks: nothing of ours may go on; then start anew under another id."""
        self._loop.post(self._given_up)

    def claimed(self, claims: list[Claim]) -> None:
        """Take slots, make the workspaces (which may be slow, so here), and hand the claims to the loop."""
        with self._lock:
            self._taken += len(claims)
        keeper = self._around.keeper
        for claim in claims:
            begin = partial(self._attempts.begin, claim)
            if keeper.is_remote:
                self._around.offload(partial(keeper.prepare, claim), begin)
                continue
            workspace: Path | Exception
            try:
                workspace = keeper.prepare(claim)
            except (TetherError, OSError) as error:
                workspace = error
            self._loop.post(partial(begin, workspace))

    def wanted(self, intents: list[Intent]) -> None:
        """Clients want something of running tasks."""
        for intent in intents:
            self._loop.post(lambda intent=intent: self._wishes.act(intent))

    def held(self, holds: list[Hold]) -> None:
        """What operators hold now; told again while there is any, since attempts and gateways come and go."""
        if holds or self._held:
            self._loop.post(lambda: self._hold(holds))
        self._held = bool(holds)

    def _hold(self, holds: list[Hold]) -> None:
        self._around.holding.take(holds)
        self._gateway.tell(self._around.holding.packet(self._attempts.all()))

    # --- drain and end ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Claim nothing more and hand back every task at its next checkpoint; asked twice, at once."""
        outcome = Outcome(
            reason=Reason.OPERATOR, message="The worker is being stopped; the task goes on elsewhere.", hand_back=True
        )
        for attempt in self._attempts.all():
            if self._attempts.parking.end(attempt, "the worker is being stopped"):
                continue
            if self._draining:
                self._attempts.end(attempt, outcome, dump=True)
            else:
                self._wishes.stop_at_step(attempt, outcome)
        if not self._draining:
            log.info("draining: %d attempts to hand back", len(self._attempts))
        self._draining = True
        self._signs.draining()
        self._claims.is_claiming = False
        self._heart.state = "draining"
        self._look_whether_done()

    def _look_whether_done(self) -> None:
        if len(self._attempts) or self._taken:
            self._idle_since_s = now_s()
            return
        is_idle = self._idle_exit_s is not None and now_s() - self._idle_since_s >= self._idle_exit_s
        if self._draining or is_idle:
            self._draining = True
            self._loop.end()

    def _given_away(self, slots: int) -> None:
        """Parked attempts gave so many slots away; one that goes on takes its own back, even if another has it now."""
        with self._lock:
            self._parked += slots
        if slots > 0:
            self._claims.wake()
            self._wakeups.freed()

    def _freed(self) -> None:
        with self._lock:
            self._taken -= 1
        self._idle_since_s = now_s()
        self._claims.wake()
        self._wakeups.freed()
        if self._draining:
            self._look_whether_done()

    def _close(self) -> None:
        self._wakeups.close()
        self._claims.close()
        self._journal.close(self._settings.worker.drain_s)
        self._heart.close()
        try:
            self._store.retire_worker(self._me.id)
        except TetherError as error:
            log.warning("the worker's row stays until its lease ends: %s", error)
        self._gateway.close()
        self._zygotes.close()
        self._around.threads.shutdown(wait=False, cancel_futures=True)
        self._spool.close()
        self._signs.close()
        self._loop.close()
        self._store.close()

    # --- lease ------------------------------------------------------------------------------------------------------

    def _enlist(self) -> None:
        worker = self._settings.worker
        self._heart = Heart(self._store, self._me, self, lease_s=worker.lease_s, beat_s=worker.heartbeat_s)
        self._claims = Claims(
            self._store,
            self._me,
            self,
            self._heart,
            wanted_tasks={
                "agents": self._agents,
                "tenants": worker.tenants,
                "limits": self._settings.limits.concurrency,
                "release": release_number(),
            },
            poll_s=worker.poll_s,
            lease_s=worker.lease_s,
            claim_every_s=self._wakeups.claim_every_s,
        )

    def _look_at_lease(self) -> None:
        """Where another host could take over, a lease that cannot be renewed stops our attempts before it ends."""
        if self._settings.store_url.startswith("sqlite"):
            # One host, one file: while we cannot write it nobody can, and afterwards a rescuer waits a whole lease.
            return
        if boottime_s() > self._lease_until_s - _LEASE_MARGIN_S:
            self._attempts.freeze("the lease could not be renewed in time")
        else:
            self._attempts.thaw()

    def _given_up(self) -> None:
        log.warning("worker %s was given up; its attempts end and it starts anew", self._me.id)
        for attempt in self._attempts.all():
            self._attempts.end(attempt, Outcome(reason=Reason.WORKER_LOST, message="the lease was lost"), dump=False)
        old = (self._claims, self._heart)
        self._me = new_worker(self._slots, self._agents, tether.__version__)
        self._enlist()
        self._around.offload(lambda: self._begin_anew(*old), self._begun_anew)

    def _begin_anew(self, claims: Claims, heart: Heart) -> None:
        claims.close()
        heart.close()
        self._heart.start()
        self._claims.start()

    def _begun_anew(self, answer: object) -> None:
        if isinstance(answer, Exception):
            log.error("the worker could not register again: %s", answer)
            self._loop.after(1.0, self._given_up)

    def _end_orphans(self) -> None:
        """What a killed zygote leaves behind without namespaces comes to us, and has no right to live."""
        checks = self._around.checks
        with checks.lock:
            known = self._zygotes.pids() | checks.pids()
            if self._gateway.pid is not None:
                known.add(self._gateway.pid)
            processes.end_orphans(known)

    # --- small things -------------------------------------------------------------------------------------------------

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        def again() -> None:
            self._loop.after(seconds, again)
            work()

        self._loop.after(seconds, again)

    def _sweep(self) -> None:
        self._around.threads.submit(sweeping.sweep, self._settings, self._store)

    def _warm_agents(self) -> list[str]:
        configured = set(self._settings.agents) | ({"autogpt"} if self._settings.models else set[str]())
        return [name for name in self._agents if name in configured]


def serve(settings: Settings, *, slots: int | None = None, idle_exit_s: float | None = None) -> int:
    """Be a worker until SIGTERM; returns the exit code. Raises TetherError when the store cannot be opened."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = open_store(settings.store_url)
    return Supervisor(settings, store, slots=slots, idle_exit_s=idle_exit_s).serve()
