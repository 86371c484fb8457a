"""An attempt and its budget: what it charges itself, and what follows once a limit is used up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from tether.errors import TetherError
from tether.store.rows import Account, Refused, Reserve
from tether.task import usd_from_nano
from tether.worker.attempt import LiveAttempt
from tether.worker.loop import now_s
from tether.worker.outcome import Outcome
from tether.worker.overspending import budget_question, overspent
from tether.worker.replies import Reply, refused, text
from tether.worker.surroundings import Surroundings

__all__ = ["LEAVE_S", "Spending"]

LEAVE_S = 1.0  # to return by itself, once it was told to


class Spending:
    """The spending of one attempt, as far as the supervisor has a say in it."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around

    def charge(self, packet: dict[str, Any], reply: Reply) -> None:
        """The agent spent money by itself."""
        attempt, claim = self._attempt, self._attempt.claim
        nanousd = packet.get("nanousd")
        if isinstance(nanousd, bool) or not isinstance(nanousd, int) or not 0 <= nanousd <= 10**15:
            reply(refused("bad_request", f"charge: nanousd {nanousd!r} is not a whole number of nano-dollars from 0"))
            return
        what = text(packet.get("what"), 500)
        event = attempt.event("charged", nanousd=nanousd, what=what)
        ask = Reserve(
            kind="charge",
            task_id=claim.task_id,
            lease_token=claim.lease_token,
            attempt=claim.attempt,
            call_id=f"charge_{claim.attempt}_{packet.get('id')}",
            name=what,
            step=attempt.step,
            hold_nanousd=nanousd,
            event=event,
        )
        self._around.journal.ask(lambda store: store.reserve([ask])[0], lambda answer: self._charged(answer, reply))

    def _charged(self, answer: Any, reply: Reply) -> None:
        if isinstance(answer, Refused | Exception):
            text = str(answer) if isinstance(answer, Exception) else f"the charge was refused ({answer.limit})"
            reply(refused("ending", text))
            return
        self._attempt.counters = answer.counters
        if answer.over is not None:
            counters = answer.counters
            self.refuse(answer.over, usd_from_nano(counters.nanousd), usd_from_nano(counters.max_nanousd), reply)
            return
        reply({"ok": True, "budget": self._attempt.budget_left()})

    def refuse(self, limit: str, used: float, allowed: float, reply: Reply) -> None:
        """Answer that a limit does not allow more, and let what follows from it begin."""
        refusal = refused("budget", f"{limit}: {used:g} of {allowed:g} used; the task's budget does not allow more")
        reply({**refusal, "limit": limit, "used": used, "allowed": allowed})
        self.used_up(limit, used, allowed)

    def used_up(self, limit: str, used: float, allowed: float) -> None:
        """A limit of the budget was hit: pause and ask, or fail, as the task says; the agent gets a moment to save its state."""
        attempt = self._attempt
        if not attempt.is_live or attempt.stop_wanted is not None:
            return
        outcome = overspent(attempt, limit, used, allowed)
        attempt.stop_wanted = outcome
        leave_s = {"terminate": 0.0, "wrap_up": attempt.clocks.step_s}.get(attempt.claim.task.on_budget_exceeded, LEAVE_S)
        if attempt.wraps_up:
            attempt.clocks.step_ended(now_s())  # what is left is one step, bounded by the timer below
        if outcome.question is not None:
            task_id = attempt.claim.task_id
            ask = partial(self._accounted, outcome, limit, used, allowed)
            self._around.journal.ask(lambda store: store.account(task_id), ask)
        end = self._around.end
        attempt.stop_timer = self._around.loop.after(leave_s, lambda: end(attempt, attempt.stop_wanted or outcome, dump=True))

    def leave(self, outcome: Outcome) -> None:
        """The attempt is to end like this; it gets a moment to return by itself."""
        attempt = self._attempt
        if attempt.is_live and attempt.stop_wanted is None:
            attempt.stop_wanted = outcome
            attempt.stop_timer = self._around.loop.after(LEAVE_S, lambda: self._around.end(attempt, outcome, dump=True))

    def _accounted(self, outcome: Outcome, limit: str, used: float, allowed: float, found: Account | TetherError) -> None:
        """The question also says on what the budget went, if the store knew before the attempt ended."""
        attempt = self._attempt
        if attempt.stop_wanted is outcome and not isinstance(found, TetherError):
            attempt.stop_wanted = replace(outcome, question=budget_question(attempt, limit, used, allowed, found))
