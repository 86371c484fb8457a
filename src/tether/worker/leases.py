"""The two threads that keep a worker's leases: heartbeats; and claims, intents, rescue and expiry.

Both are crash-only: a fault is logged and the next turn starts anew. A worker takes over what others left only after one
whole lease of its own healthy beats, so an outage of the store (or a fresh start) cannot make it steal from the living.
"""

from __future__ import annotations

import logging
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tether.errors import StoreUnavailable
from tether.store.rows import Claim, Hold, Intent, NewWorker, WorkerRow

if TYPE_CHECKING:
    from tether.store import Store

__all__ = ["Claims", "Heart", "boottime_s", "is_alive", "new_worker"]

log = logging.getLogger("tether.worker")
_RETRY_S = 0.2
_HOUSEKEEPING_S = 1.0
_HOLDS_S = 0.5
#: An attempt that was claimed starts before this thread looks after anything else.
_AFTER_YOU_S = 0.02
#: Of the time between two looks, so that each of them sees the wishes, jitter or not, and no other turn does.
_WISHES_SHARE = 0.8
_LATE_PAUSES_S = 5.0
_ORPHANS_S = 30.0


def boottime_s() -> float:
    """Seconds since boot including suspension: a lease ends while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> int | None:
    """The kernel's start time of a process (clock ticks since boot), which tells a reused pid from the old one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else int(fields[19])


def new_worker(slots: int, agents: tuple[str, ...], version: str) -> NewWorker:
    """This process as a worker, with an id of its own."""
    host, pid = socket.gethostname(), os.getpid()
    return NewWorker(
        id=f"{host}-{pid}-{random.getrandbits(32):08x}",
        host=host,
        boot_id=_boot_id(),
        pid=pid,
        start_time=_start_time(pid) or 0,
        slots=slots,
        agents=agents,
        version=version,
    )


def is_alive(worker: WorkerRow, me: NewWorker) -> bool:
    """False when the worker's process on this very boot of this host is known to be gone."""
    if (worker.host, worker.boot_id) != (me.host, me.boot_id):
        return True
    return _start_time(worker.pid) == worker.start_time


class Wanted(Protocol):
    """What the lease threads ask of and tell the supervisor; called from their threads."""

    @property
    def free_slots(self) -> int: ...

    def renewed(self, until_s: float) -> None: ...

    def given_up(self) -> None: ...

    def claimed(self, claims: list[Claim]) -> None: ...

    def wanted(self, intents: list[Intent]) -> None: ...

    def held(self, holds: list[Hold]) -> None: ...


class Heart:
    """The heartbeat thread; `since_s` is when the current row of beats without a gap began (boot time)."""

    def __init__(self, store: Store, me: NewWorker, wanted: Wanted, *, lease_s: float, beat_s: float) -> None:
        self._store = store
        self._me = me
        self._wanted = wanted
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._ended = threading.Event()
        self.state = "live"
        self.since_s: float | None = None
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)

    def start(self) -> None:
        """Register the worker, then beat until `close`. Raises StoreUnavailable."""
        sent_s = boottime_s()
        self._store.register_worker(self._me, lease_s=self._lease_s)
        self.since_s = sent_s
        self._wanted.renewed(sent_s + self._lease_s)
        self._thread.start()

    def is_healthy_for(self, seconds: float) -> bool:
        """Whether every beat of the last `seconds` seconds came through in time."""
        return self.since_s is not None and boottime_s() - self.since_s >= seconds

    def close(self) -> None:
        """Stop beating."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _live(self) -> None:
        wait_s = self._beat_s
        while not self._ended.wait(wait_s):
            wait_s = self._beat_s if self._beat() else _RETRY_S

    def _beat(self) -> bool:
        # The lease counts from sending: the store's answer may take long, and its clock started before it.
        sent_s = boottime_s()
        try:
            beat = self._store.heartbeat(self._me.id, lease_s=self._lease_s, state=self.state)
        except StoreUnavailable as error:
            log.warning("heartbeat: %s", error)
            self.since_s = None
            return False
        except Exception:
            log.exception("heartbeat")
            self.since_s = None
            return False
        if not beat.alive:
            self.since_s = None
            self._wanted.given_up()
            return True
        if self.since_s is None or beat.outage_s > 0 or boottime_s() - sent_s > self._lease_s / 2:
            self.since_s = sent_s
        self._wanted.renewed(sent_s + self._lease_s)
        return True


@dataclass(frozen=True, kw_only=True)
class _Chore:
    every_s: float
    work: Callable[[], object]


class Claims:
    """The thread that fetches work and wishes, and looks after what dead workers left."""

    def __init__(
        self,
        store: Store,
        me: NewWorker,
        wanted: Wanted,
        heart: Heart,
        *,
        wanted_tasks: Mapping[str, Any],
        poll_s: float,
        lease_s: float,
        claim_every_s: Callable[[], float] = float,
    ) -> None:
        """wanted_tasks: arguments of Store.claim. claim_every_s: seconds between claims nobody asked for, beyond poll_s."""
        self._store = store
        self._me = me
        self._wanted = wanted
        self._heart = heart
        self._wanted_tasks = wanted_tasks
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._claim_every_s = claim_every_s
        self._claim_due_s = 0.0
        self._woken = threading.Event()
        self._turned = threading.Condition()
        self._begun = self._looked = 0
        self._had_room = False
        self._told = False
        self._ended = False
        self.is_claiming = True
        self._due: dict[int, float] = {}
        self._holds: set[str] = set()
        self._released_s = -math.inf
        self._chores = (
            _Chore(every_s=poll_s * _WISHES_SHARE, work=self._look_for_wishes),
            _Chore(every_s=_HOLDS_S, work=self._look_at_holds),
            _Chore(every_s=min(_HOUSEKEEPING_S, lease_s / 4), work=self._rescue),
            _Chore(every_s=_HOUSEKEEPING_S, work=self._store.expire_waits),
            _Chore(every_s=_ORPHANS_S, work=lambda: self._store.settle_orphans(older_than_s=2 * self._lease_s)),
            _Chore(every_s=_ORPHANS_S, work=self._store.resume_released),
        )
        self._thread = threading.Thread(target=self._live, name="claims", daemon=True)

    def start(self) -> None:
        """Claim until `close`."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: a slot is free."""
        self._woken.set()

    def look(self, timeout_s: float) -> bool:
        """Look now, as there is work, and wait for it; False when the store did not answer in time or no slot was free."""
        with self._turned:
            mine = self._begun + 1
            self._told = True
            self.wake()
            done = self._turned.wait_for(lambda: self._looked >= mine or self._ended, timeout_s)
            return done and self._had_room

    def close(self) -> None:
        """Stop claiming and end the thread."""
        self.is_claiming = False
        self._ended = True
        self._woken.set()
        with self._turned:
            self._turned.notify_all()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _live(self) -> None:
        while not self._ended:
            asked = self._woken.is_set()
            if asked:
                self._woken.clear()
            told, self._told = self._told, False
            if told and not self._is_late():
                # Somebody waits for this one; the rest can wait for him.
                self._guarded(lambda: self._claim(told=True))
                self._woken.wait(_AFTER_YOU_S)
                self._tidy()
            else:
                # Expiry comes before claims: what waited too long is not begun.
                self._tidy()
                if asked or told or time.monotonic() >= self._claim_due_s:
                    self._guarded(self._claim)
            self._woken.wait(self._poll_s)

    def _is_late(self) -> bool:
        """Whether this thread stood still, so that expiry may be long overdue."""
        return not self._due or time.monotonic() > min(self._due.values()) + _HOUSEKEEPING_S

    def _tidy(self) -> None:
        """The chores whose time has come."""
        for number, chore in enumerate(self._chores):
            if time.monotonic() >= self._due.get(number, 0):
                # A little jitter keeps the workers of a fleet from sweeping at the same moment.
                self._due[number] = time.monotonic() + chore.every_s * random.uniform(0.8, 1.2)
                self._guarded(chore.work)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except StoreUnavailable as error:
            log.warning("claims: %s", error)
            self._woken.wait(_RETRY_S)
        except Exception:
            log.exception("claims")

    def _look_for_wishes(self) -> None:
        intents = self._store.intents(self._me.id)
        if intents:
            self._wanted.wanted(intents)

    def _claim(self, *, told: bool = False) -> None:
        with self._turned:
            self._begun += 1
        free = self._wanted.free_slots if self.is_claiming else 0
        claims = self._store.claim(self._me.id, n=free, told=told, **self._wanted_tasks) if free > 0 else []
        if claims:
            self._wanted.claimed(claims)
        self._claim_due_s = time.monotonic() + self._claim_every_s()
        with self._turned:
            self._looked, self._had_room = self._begun, free > 0
            self._turned.notify_all()

    def _look_at_holds(self) -> None:
        """Tell what is in force. After a release, tasks that paused for it go on, also those whose pause is written just now."""
        holds = self._store.holds()
        ids = {hold.id for hold in holds}
        if self._holds - ids:
            self._released_s = time.monotonic()
        self._holds = ids
        self._wanted.held(holds)
        if time.monotonic() - self._released_s < _LATE_PAUSES_S:
            self._store.resume_released()

    def _rescue(self) -> None:
        workers = self._store.workers()
        dead = [row.id for row in workers if row.id != self._me.id and not is_alive(row, self._me)]
        # Without a whole lease of healthy beats behind us, an expired lease may only mean that the store was away.
        grace_s = 0.0 if self._heart.is_healthy_for(self._lease_s) else 10 * 365 * 86400.0
        rescued = self._store.rescue(dead=dead, found_by=self._me.id, grace_s=grace_s)
        for task in rescued:
            log.warning("took %s from worker %s: now %s", task.task_id, task.worker_id, task.state)
        if rescued:
            self.wake()
