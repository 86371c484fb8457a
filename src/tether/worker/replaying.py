"""Another attempt of an agent that cannot checkpoint: it starts from the workspace as first submitted, and is given again the
answers models gave before, for nothing. What such an agent did itself happens once more, so a human may be asked first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tether.errors import TetherError
from tether.lifecycle import Reason
from tether.task import ApprovalKind
from tether.worker import launching
from tether.worker.attempt import LiveAttempt
from tether.worker.outcome import Outcome, Question
from tether.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from tether.store import Store
    from tether.store.rows import Claim

__all__ = ["Repeated", "Replaying", "forget_after", "repeated", "would_start_over"]

_MOST_SHOWN = 50
_MOST_EVENTS = 1000
_ARGUMENT_CHARS = 300
#: After these the same agent is meant to go on from where it was; after any other one its next attempt is a fresh try.
_GOES_ON = frozenset(
    {
        Reason.BUDGET,
        Reason.QUESTION,
        Reason.APPROVAL,
        Reason.ESCALATED,
        Reason.STUCK,
        Reason.OPERATOR,
        Reason.WORKER_LOST,
    }
)
_WARNING = "It starts again from the files it was given, and does again what it did itself"


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """What starting again means: answers that would be given again, and the tool calls seen that would happen again."""

    answers: int
    calls: tuple[dict[str, Any], ...] = ()

    def details(self, attempt: int) -> dict[str, Any]:
        """For an approval: what is consented to, of which attempt."""
        return {"attempt": attempt, "answers": self.answers, "calls": list(self.calls)}

    def text(self) -> str:
        """One sentence for a human."""
        names = ", ".join(dict.fromkeys(str(call["name"]) for call in self.calls))
        return (
            f"{_WARNING}: {len(self.calls)} tool calls were seen ({names})." if self.calls else f"{_WARNING}; nothing was seen."
        )


def repeated(store: Store, task_id: str) -> Repeated:
    """Ask the store; slow, for a thread. Raises StoreUnavailable."""
    answers = store.recorded_answers(task_id)
    if not answers:
        return Repeated(answers=0)
    calls: dict[str, dict[str, Any]] = {}
    for event in store.events(task_id, types=("tool_started",), limit=_MOST_EVENTS):
        args = str(event.data.get("args") or "")[:_ARGUMENT_CHARS]
        calls[str(event.data.get("call_id"))] = {"name": event.data.get("name"), "args": args}
    return Repeated(answers=answers, calls=tuple(calls.values())[-_MOST_SHOWN:])


def would_start_over(attempt: LiveAttempt) -> bool:
    """Whether another attempt would begin at the beginning."""
    return attempt.agent.kind != "builtin" and attempt.checkpoint is None


def forget_after(attempt: LiveAttempt, reason: Reason) -> bool:
    """Whether what was recorded is of no use once the attempt ended for this reason."""
    return attempt.agent.kind != "builtin" and (reason not in _GOES_ON or attempt.checkpoint is not None)


class Replaying:
    """Decides, before an attempt starts, whether it replays what earlier ones did."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def before(self, attempt: LiveAttempt, start: Callable[[], None]) -> None:
        """Call `start` once the attempt may; end it when it must not, or a human is to be asked."""
        claim = attempt.claim
        if claim.attempt == 1 or not would_start_over(attempt):
            start()
        elif attempt.agent.replay == "off" and claim.reason in ("worker_lost", "operator") and claim.counters.llm_calls:
            message = "Its worker was lost, and this agent is never started again (replay)."
            self._around.end(attempt, Outcome(reason=Reason.WORKER_LOST, message=message, for_good=True), dump=False)
        else:
            ask: Callable[[Store], Repeated] = partial(_ask, claim.task_id)
            self._around.journal.ask(ask, partial(self._known, attempt, start))

    def _known(self, attempt: LiveAttempt, start: Callable[[], None], found: Repeated | TetherError) -> None:
        if not attempt.is_live:
            return
        if isinstance(found, TetherError):
            self._around.end(attempt, Outcome(reason=Reason.WORKER_LOST, message=str(found)), dump=False)
        elif not found.answers:
            start()
        elif attempt.agent.replay == "ask" and found.calls and not _consented(attempt.claim):
            details = {"replay": found.details(attempt.claim.attempt), "spent": dict(attempt.usage()), "partial": attempt.partial}
            asked = Question(kind=ApprovalKind.APPROVAL, text=found.text() + " Approve to start it again.", details=details)
            self._around.end(attempt, Outcome(reason=Reason.APPROVAL, message=found.text(), question=asked), dump=False)
        else:
            attempt.replays = True
            self._around.offload(partial(self._renew, attempt), partial(self._renewed, attempt, start))

    def _renew(self, attempt: LiveAttempt) -> None:
        """The workspace as it was submitted; a folder of the user's own is left alone."""
        if not attempt.agent.in_place:
            shutil.rmtree(launching.workspace_of(self._around.settings, attempt.claim), ignore_errors=True)
            launching.prepare_workspace(self._around.settings, attempt.claim)

    def _renewed(self, attempt: LiveAttempt, start: Callable[[], None], problem: Exception | None) -> None:
        if not attempt.is_live:
            return
        if problem is not None:
            message = f"Its files cannot be made again: {problem}"
            self._around.end(attempt, Outcome(reason=Reason.POLICY, message=message), dump=False)
            return
        start()


def _ask(task_id: str, store: Store) -> Repeated:
    return repeated(store, task_id)


def _consented(claim: Claim) -> bool:
    """Whether a human approved starting again after the last attempt, knowing what would be repeated."""
    approval = claim.approval
    if approval is None or approval.state != "approved":
        return False
    return (approval.details.get("replay") or {}).get("attempt") == claim.attempt - 1
