"""What an agent says over Link, and what it is answered; every durable thing is answered only once it is durable.

The same operations come over the attempt's socket and, for commands, over HTTP through the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tether.errors import TetherError
from tether.lifecycle import Reason
from tether.store.rows import NewCheckpoint, Written
from tether.task import ApprovalKind
from tether.worker.attempt import LiveAttempt, Refusal
from tether.worker.handing_over import HandingOver
from tether.worker.loop import now_s
from tether.worker.nearing import nearing
from tether.worker.nudging import Nudging
from tether.worker.outcome import Outcome, Question
from tether.worker.release import release_number
from tether.worker.replies import LONGEST_TEXT, Reply, refused, text
from tether.worker.spending import LEAVE_S, Spending
from tether.worker.steps import close_step, open_step
from tether.worker.surroundings import Surroundings
from tether.worker.tool_calls import ToolCalls
from tether.worker.traffic import Traffic

__all__ = ["Conversation"]

_MOST_UNACKNOWLEDGED = 500


class Conversation:
    """Answers one attempt's requests. An operation is a method named after it; unknown ones are refused by name."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self.nudging = nudging = Nudging(attempt, around)
        self.spending = Spending(attempt, around)
        handing_over = HandingOver(attempt, around, self._note)
        self._tools = ToolCalls(attempt, around, self.spending.used_up, nudging)
        self._traffic = Traffic(attempt, around, nudging, self.spending.used_up)
        self._operations: dict[str, Callable[[dict[str, Any], Reply], None]] = {
            "hello": self._hello,
            "step_started": self._step_started,
            "step_ended": self._step_ended,
            "thought": self._thought,
            "log": self._log,
            "memory_trimmed": self._memory_trimmed,
            "checkpoint": self._checkpoint,
            "partial": self._partial,
            "ask": self._ask,
            "charge": self.spending.charge,
            "budget": self._budget,
            "tool": self._tools.call,
            "result": handing_over.result,
            "failed": handing_over.failed,
        }

    @property
    def tools(self) -> ToolCalls:
        """The attempt's tool calls."""
        return self._tools

    @property
    def traffic(self) -> Traffic:
        """What its model calls tell of it."""
        return self._traffic

    def take(self, packet: dict[str, Any], reply: Reply) -> None:
        """Handle one request; `reply` is used at once or later, at most once."""
        if not self._attempt.is_live:
            reply(refused("ending", "this attempt is ending"))
            return
        self._attempt.clocks.alive(now_s())
        operation = self._operations.get(str(packet.get("op")))
        if operation is None:
            known = ", ".join(self._operations)
            reply(refused("unknown_operation", f"op: {packet.get('op')!r} is not an operation; known are {known}"))
            return
        try:
            operation(packet, reply)
        except (TetherError, TypeError, ValueError, KeyError, AttributeError) as error:
            reply(refused("bad_request", f"{packet.get('op')}: {error}"))

    # --- state of the task -----------------------------------------------------------------------------------------

    def _hello(self, packet: dict[str, Any], reply: Reply) -> None:
        claim = self._attempt.claim
        task = claim.task
        state = claim.checkpoint.state if claim.checkpoint else None
        reply(
            {
                "ok": True,
                "task": {
                    "id": claim.task_id,
                    "goal": task.goal,
                    "input": task.input,
                    "user": task.user,
                    "tenant": task.tenant,
                    "task_type": task.task_type,
                    "tags": list(task.tags),
                    "metadata": dict(task.metadata),
                    "result_schema": task.result_schema,
                    "prohibited": list(task.prohibited),
                    "on_budget_exceeded": task.on_budget_exceeded,
                },
                "attempt": claim.attempt,
                "step": self._attempt.step,
                "state": state,
                "state_number": self._attempt.checkpoint,
                "partial": claim.partial,
                "answers": dict(claim.answers),
                "budget": self._attempt.budget_left(),
                "nudge": self._attempt.nudge,
                "tools": {
                    call_id: {"name": tool.name, "outcome": tool.outcome, "result": tool.result, "error": tool.error}
                    for call_id, tool in claim.tools.items()
                },
            }
        )
        version = packet.get("agent_version")
        if version:
            self._note(self._attempt.event("agent_log", level="info", text=f"agent version {str(version)[:200]}"))

    def _budget(self, _packet: dict[str, Any], reply: Reply) -> None:
        reply({"ok": True, "budget": self._attempt.budget_left()})

    # --- steps ------------------------------------------------------------------------------------------------------

    def _step_started(self, _packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        if attempt.wraps_up:
            reply({**refused("budget", attempt.stop_wanted.message if attempt.stop_wanted else ""), "limit": "budget"})
            return
        if attempt.stop_wanted is not None:
            self._leave(attempt.stop_wanted, reply)
            return
        if attempt.steps_used >= attempt.counters.max_steps:
            self.spending.refuse("max_steps", attempt.steps_used, attempt.counters.max_steps, reply)
            return
        attempt.tells_steps = True
        events = open_step(attempt, now_s())
        nearing(attempt)
        self._around.rearm(attempt)
        nudge, attempt.nudge = attempt.nudge, None
        progress = {"step": attempt.step, "thought": attempt.thought}
        self._around.journal.write(attempt.entry(*events, add_steps=1, progress=progress), self._fenced)
        reply({"ok": True, "step": attempt.step, "budget": attempt.budget_left(), "nudge": nudge})

    def _step_ended(self, _packet: dict[str, Any], reply: Reply) -> None:
        events = close_step(self._attempt, now_s())
        if events:
            self._note(*events)
        reply({"ok": True})

    def _leave(self, outcome: Outcome, reply: Reply) -> None:
        """At a step boundary nothing is lost: the agent is told to return and gets a moment to do so."""
        reply(refused("ending", outcome.message or "this attempt is ending"))
        self._around.loop.after(LEAVE_S, lambda: self._around.end(self._attempt, outcome, dump=False))

    # --- what it tells ----------------------------------------------------------------------------------------------

    def _thought(self, packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        attempt.thought = text(packet.get("thoughts"), 2000)
        plan = [text(item, 500) for item in packet.get("plan") or ()][:20]
        attempt.plan = plan or attempt.plan
        criticism = text(packet.get("criticism"), 2000)
        event = attempt.event("thought", thoughts=attempt.thought, plan=plan, criticism=criticism)
        self._note(event, progress={"step": attempt.step, "thought": attempt.thought, "plan": plan})
        reply({"ok": True})

    def _log(self, packet: dict[str, Any], reply: Reply) -> None:
        self._note(
            self._attempt.event("agent_log", level=text(packet.get("level"), 20), text=text(packet.get("text"), LONGEST_TEXT))
        )
        reply({"ok": True})

    def _memory_trimmed(self, packet: dict[str, Any], reply: Reply) -> None:
        data = {key: packet.get(key) for key in ("before_tokens", "after_tokens", "how")}
        self._note(self._attempt.event("memory_trimmed", **data))
        reply({"ok": True})

    # --- what it keeps ----------------------------------------------------------------------------------------------

    def _checkpoint(self, packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        base = packet.get("base")
        if base is not None and base != attempt.checkpoint:
            reply(
                refused("stale_base", f"checkpoint: base {base} is not the newest ({attempt.checkpoint}); send the whole state")
            )
            return
        number = (attempt.checkpoint or 0) + 1
        new = NewCheckpoint(
            number=number,
            state=packet["state"],
            base=base,
            step=attempt.step,
            agent_version=attempt.claim.agent_version,
            release=release_number(),
        )
        if not attempt.can_checkpoint:  # from now on it is refused over budget, as it loses nothing
            self._around.gateway.tell({"op": "policy", "key": attempt.key, "can_checkpoint": True})
        attempt.checkpoint = number
        attempt.messages = _messages(packet["state"], base is None, attempt.messages)
        if not self._around.keeper.is_remote:
            self._save(new, reply, None)
            return
        # The files first: a checkpoint that another host can see must have its workspace.
        self._around.offload(
            lambda: self._around.keeper.checkpointed(attempt.claim, number), lambda problem: self._save(new, reply, problem)
        )

    def _save(self, new: NewCheckpoint, reply: Reply, problem: str | Exception | None) -> None:
        attempt = self._attempt
        notes = [attempt.event("agent_log", level="warning", text=str(problem))] if problem else []
        entry = attempt.entry(*notes, checkpoint=new)
        self._around.journal.write(entry, lambda written: self._kept(written, reply, number=new.number))

    def _partial(self, packet: dict[str, Any], reply: Reply) -> None:
        self._attempt.partial = packet.get("result")
        entry = self._attempt.entry(partial=packet.get("result"))
        self._around.journal.write(entry, lambda written: self._kept(written, reply))

    def _kept(self, written: Written, reply: Reply, **answer: Any) -> None:
        if written:
            reply({"ok": True, **answer})
            return
        refusal = Refusal.of(written)
        reply(refused(refusal.reason, refusal.message))
        self._fenced(written)

    # --- what it asks -----------------------------------------------------------------------------------------------

    def _ask(self, packet: dict[str, Any], reply: Reply) -> None:
        question = text(packet.get("question"), LONGEST_TEXT)
        key = text(packet.get("key") or question, 500)
        if not question.strip():
            reply(refused("bad_request", "ask: the question is empty; say what you need to know"))
            return
        answer = self._attempt.claim.answers.get(key)
        if answer is not None:
            reply({"ok": True, "answer": answer})
            return
        details = {"choices": packet.get("choices"), "spent": self._attempt.usage(), "partial": self._attempt.partial}
        asked = Question(kind=ApprovalKind.QUESTION, text=question, key=key, details=details)
        outcome = Outcome(reason=Reason.QUESTION, message=f"The agent asks: {question}", question=asked)
        self._around.end(self._attempt, outcome, dump=False)

    # --- journaling -------------------------------------------------------------------------------------------------

    def _note(self, *events: Any, **parts: Any) -> None:
        """Journal what needs no answer; an agent that floods the journal loses its own lines, not its neighbours'."""
        attempt = self._attempt
        if attempt.unacknowledged >= _MOST_UNACKNOWLEDGED:
            return
        attempt.unacknowledged += 1
        self._around.journal.write(attempt.entry(*events, **parts), self._noted)

    def _noted(self, written: Written) -> None:
        self._attempt.unacknowledged -= 1
        self._fenced(written)

    def _fenced(self, written: Written) -> None:
        if not written and written.problem is None:
            self._around.end(self._attempt, Outcome(reason=Reason.WORKER_LOST, message="the lease is gone"), dump=False)


def _messages(state: Any, whole: bool, before: int | None) -> int | None:
    """How many messages the checkpoint holds, for states that keep a list of that name."""
    if not isinstance(state, dict):
        return None
    part = state if whole else state.get("append", {})
    found = part.get("messages") if isinstance(part, dict) else None
    if not isinstance(found, list):
        return None if whole else before
    return len(found) + (0 if whole else before or 0)
