"""Recorded answers for an agent that starts again: matched by request in any order, given at no cost; what differs goes live."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Iterable

from aiohttp import web

from tether.errors import StoreUnavailable
from tether.events import NewEvent
from tether.gateway.admission import Admission
from tether.gateway.call import Call
from tether.gateway.ledger import Ledger
from tether.gateway.parking import fingerprint
from tether.gateway.refusals import store_away
from tether.gateway.taping import Tape
from tether.store.rows import Append, Recording

__all__ = ["Replay", "Replays", "tape_of"]


class Replay:
    """The recorded answers an attempt has not used yet. Pure."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._left: dict[str, deque[Recording]] = defaultdict(deque)
        self._held: set[str] = set()
        for recording in recordings:
            if recording.body is None:
                self._held.add(recording.place)
            else:
                self._left[recording.place].append(recording)
        self.diverged = False

    @property
    def left(self) -> int:
        """Answers not used yet."""
        return sum(len(answers) for answers in self._left.values())

    def take(self, place: str) -> Recording | None:
        """The next answer to this request; None when it goes live. What was never recorded while answers are left diverges."""
        if self.diverged:
            return None
        if self._left.get(place):
            return self._left[place].popleft()
        self.diverged = self.left > 0 and place not in self._held
        return None


class Replays:
    """The replays of all attempts; each attempt's answers are read at its first call."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._of: dict[str, asyncio.Task[Replay]] = {}

    async def answer(self, call: Call) -> web.Response | None:
        """The recorded answer to a call, if there is one. Raises Refusal when the store is away."""
        admission = call.admission
        if not admission.policy.replays or call.tape is None:
            return None
        replay = await self._replay(admission)
        was_diverged = replay.diverged
        found = replay.take(call.tape.place)
        if found is not None:
            self._note(admission, "call_replayed", call_id=found.call_id, of_attempt=found.attempt)
            return web.Response(status=200, body=found.body, headers={"Content-Type": found.content_type or "application/json"})
        if replay.diverged and not was_diverged:
            self._note(admission, "replay_diverged", call_id=call.id or None, left=replay.left)
        return None

    def held(self, admission: Admission, place: str, call_id: str) -> None:
        """A call is held: when it is made again by another attempt, that is no divergence."""
        if admission.policy.records:
            item = Recording(task_id=admission.task_id, call_id=call_id, attempt=admission.attempt, place=place)
            self._ledger.append(item)

    def keep(self, call: Call) -> None:
        """Record the answer of a call that is over."""
        if call.tape is not None and (recording := call.tape.recording(call.admission, call.id)) is not None:
            self._ledger.append(recording)

    async def _replay(self, admission: Admission) -> Replay:
        reading = self._of.get(admission.key)
        if reading is None:
            reading = self._of[admission.key] = asyncio.ensure_future(self._read(admission.task_id))
            admission.endings.append(lambda: self._of.pop(admission.key, None))
        try:
            return await asyncio.shield(reading)
        except StoreUnavailable as error:
            with contextlib.suppress(KeyError):
                del self._of[admission.key]
            raise store_away(error) from None

    async def _read(self, task_id: str) -> Replay:
        return Replay(await self._ledger.recordings(task_id))

    def _note(self, admission: Admission, kind: str, **data: object) -> None:
        event = NewEvent(type=kind, attempt=admission.attempt, data=data)
        self._ledger.append(Append(task_id=admission.task_id, events=(event,)))


def tape_of(admission: Admission, route: str, raw: bytes) -> Tape | None:
    """A tape for a call whose answer is to be recorded or may have been."""
    policy = admission.policy
    return Tape(place=fingerprint(route, raw)) if policy.records or policy.replays else None
