"""What an agent says over Link, and what it is answered; every durable thing is answered only once it is durable.

The same operations come over the attempt's socket and, for commands, over HTTP through the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tether.errors import TetherError
from tether.lifecycle import Reason
from tether.store.rows import Account, NewCheckpoint, Refused, Reserve, Written
from tether.task import ApprovalKind, usd_from_nano
from tether.worker.attempt import LiveAttempt, Refusal
from tether.worker.loop import now_s
from tether.worker.nearing import nearing
from tether.worker.nudging import Nudging
from tether.worker.outcome import Outcome, Question
from tether.worker.overspending import budget_question, overspent
from tether.worker.release import release_number
from tether.worker.steps import close_step, open_step
from tether.worker.surroundings import Surroundings
from tether.worker.tool_calls import ToolCalls
from tether.worker.traffic import Traffic

__all__ = ["Conversation"]

Reply = Callable[[Mapping[str, Any]], None]
_MOST_UNACKNOWLEDGED = 500
_TEXT = 20_000
_LEAVE_S = 1.0


class Conversation:
    """Answers one attempt's requests. An operation is a method named after it; unknown ones are refused by name."""

    def __init__(self, attempt: LiveAttempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self.nudging = nudging = Nudging(attempt, around)
        self._tools = ToolCalls(attempt, around, self.over_budget, nudging)
        self._traffic = Traffic(attempt, around, nudging, self.over_budget)
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
            "charge": self._charge,
            "budget": self._budget,
            "tool": self._tools.call,
            "result": self._result,
            "failed": self._failed,
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
            reply(_refused("ending", "this attempt is ending"))
            return
        self._attempt.clocks.alive(now_s())
        operation = self._operations.get(str(packet.get("op")))
        if operation is None:
            known = ", ".join(self._operations)
            reply(_refused("unknown_operation", f"op: {packet.get('op')!r} is not an operation; known are {known}"))
            return
        try:
            operation(packet, reply)
        except (TetherError, TypeError, ValueError, KeyError, AttributeError) as error:
            reply(_refused("bad_request", f"{packet.get('op')}: {error}"))

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
            reply({**_refused("budget", attempt.stop_wanted.message if attempt.stop_wanted else ""), "limit": "budget"})
            return
        if attempt.stop_wanted is not None:
            self._leave(attempt.stop_wanted, reply)
            return
        if attempt.steps_used >= attempt.counters.max_steps:
            self._over("max_steps", attempt.steps_used, attempt.counters.max_steps, reply)
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
        reply(_refused("ending", outcome.message or "this attempt is ending"))
        self._around.loop.after(_LEAVE_S, lambda: self._around.end(self._attempt, outcome, dump=False))

    # --- what it tells ----------------------------------------------------------------------------------------------

    def _thought(self, packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        attempt.thought = _text(packet.get("thoughts"), 2000)
        plan = [_text(item, 500) for item in packet.get("plan") or ()][:20]
        attempt.plan = plan or attempt.plan
        criticism = _text(packet.get("criticism"), 2000)
        event = attempt.event("thought", thoughts=attempt.thought, plan=plan, criticism=criticism)
        self._note(event, progress={"step": attempt.step, "thought": attempt.thought, "plan": plan})
        reply({"ok": True})

    def _log(self, packet: dict[str, Any], reply: Reply) -> None:
        self._note(self._attempt.event("agent_log", level=_text(packet.get("level"), 20), text=_text(packet.get("text"), _TEXT)))
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
                _refused("stale_base", f"checkpoint: base {base} is not the newest ({attempt.checkpoint}); send the whole state")
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
        reply(_refused(refusal.reason, refusal.message))
        self._fenced(written)

    # --- what it asks -----------------------------------------------------------------------------------------------

    def _ask(self, packet: dict[str, Any], reply: Reply) -> None:
        question = _text(packet.get("question"), _TEXT)
        key = _text(packet.get("key") or question, 500)
        if not question.strip():
            reply(_refused("bad_request", "ask: the question is empty; say what you need to know"))
            return
        answer = self._attempt.claim.answers.get(key)
        if answer is not None:
            reply({"ok": True, "answer": answer})
            return
        details = {"choices": packet.get("choices"), "spent": self._attempt.usage(), "partial": self._attempt.partial}
        asked = Question(kind=ApprovalKind.QUESTION, text=question, key=key, details=details)
        outcome = Outcome(reason=Reason.QUESTION, message=f"The agent asks: {question}", question=asked)
        self._around.end(self._attempt, outcome, dump=False)

    def _charge(self, packet: dict[str, Any], reply: Reply) -> None:
        attempt, claim = self._attempt, self._attempt.claim
        nanousd = packet.get("nanousd")
        if isinstance(nanousd, bool) or not isinstance(nanousd, int) or not 0 <= nanousd <= 10**15:
            reply(_refused("bad_request", f"charge: nanousd {nanousd!r} is not a whole number of nano-dollars from 0"))
            return
        what = _text(packet.get("what"), 500)
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
            reply(_refused("ending", text))
            return
        self._attempt.counters = answer.counters
        if answer.over is not None:
            counters = answer.counters
            self._over(answer.over, usd_from_nano(counters.nanousd), usd_from_nano(counters.max_nanousd), reply)
            return
        reply({"ok": True, "budget": self._attempt.budget_left()})

    def _over(self, limit: str, used: float, allowed: float, reply: Reply) -> None:
        refusal = _refused("budget", f"{limit}: {used:g} of {allowed:g} used; the task's budget does not allow more")
        reply({**refusal, "limit": limit, "used": used, "allowed": allowed})
        self.over_budget(limit, used, allowed)

    def over_budget(self, limit: str, used: float, allowed: float) -> None:
        """A limit of the budget was hit: pause and ask, or fail, as the task says; the agent gets a moment to save its state."""
        attempt = self._attempt
        if not attempt.is_live or attempt.stop_wanted is not None:
            return
        outcome = overspent(attempt, limit, used, allowed)
        attempt.stop_wanted = outcome
        leave_s = {"terminate": 0.0, "wrap_up": attempt.clocks.step_s}.get(attempt.claim.task.on_budget_exceeded, _LEAVE_S)
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
            attempt.stop_timer = self._around.loop.after(_LEAVE_S, lambda: self._around.end(attempt, outcome, dump=True))

    def _accounted(self, outcome: Outcome, limit: str, used: float, allowed: float, found: Account | TetherError) -> None:
        """The question also says on what the budget went, if the store knew before the attempt ended."""
        attempt = self._attempt
        if attempt.stop_wanted is outcome and not isinstance(found, TetherError):
            attempt.stop_wanted = replace(outcome, question=budget_question(attempt, limit, used, allowed, found))

    # --- how it ends ------------------------------------------------------------------------------------------------

    def _result(self, packet: dict[str, Any], reply: Reply) -> None:
        if packet.get("partial") or self._attempt.wraps_up:
            self._keep_and_end(packet, reply)
            return
        schema = self._attempt.claim.task.result_schema
        if schema is None:
            self._accept(packet, reply)
            return
        result = packet.get("result")
        self._around.offload(
            lambda: self._around.checks.problem_of(result, schema), lambda problem: self._checked(problem, packet, reply)
        )

    def _checked(self, problem: str | Exception | None, packet: dict[str, Any], reply: Reply) -> None:
        attempt = self._attempt
        if problem is None:
            self._accept(packet, reply)
            return
        repair = attempt.agent.kind == "builtin" and not attempt.repaired
        attempt.repaired = True
        raw = json.dumps(packet.get("result"), ensure_ascii=False)[:_TEXT]
        self._note(attempt.event("result_rejected", problem=str(problem)[:2000], repair=repair, raw=raw))
        reply(_refused("invalid_result", f"the result does not match result_schema: {problem}"))
        if not repair:
            message = f"The result does not match result_schema: {problem}"
            self._around.end(attempt, Outcome(reason=Reason.INVALID_RESULT, message=message), dump=False)

    def _keep_and_end(self, packet: dict[str, Any], reply: Reply) -> None:
        """What an attempt that wraps up hands over is its partial answer."""
        attempt = self._attempt
        attempt.partial = packet.get("result")
        self._around.journal.write(attempt.entry(partial=attempt.partial))
        reply({"ok": True})
        self._around.end(attempt, attempt.stop_wanted or Outcome(reason=Reason.BUDGET), dump=False)

    def _accept(self, packet: dict[str, Any], reply: Reply) -> None:
        message = _text(packet.get("summary"), 2000)
        outcome = Outcome(reason=Reason.COMPLETED, message=message, has_result=True, result=packet.get("result"))
        reply({"ok": True})
        self._around.end(self._attempt, outcome, dump=False)

    def _failed(self, packet: dict[str, Any], reply: Reply) -> None:
        known = {r.value: r for r in (Reason.AGENT_ERROR, Reason.CONTEXT_EXCEEDED, Reason.UPSTREAM_ERROR, Reason.INVALID_RESULT)}
        reason = known.get(str(packet.get("reason")), Reason.AGENT_ERROR)
        traceback = _text(packet.get("traceback"), _TEXT)
        if traceback:
            self._note(self._attempt.event("agent_log", level="error", text=traceback))
        reply({"ok": True})
        # A refusal for the budget usually reaches the agent as an exception; the flag, not the exception, says why it ends.
        outcome = self._attempt.stop_wanted or Outcome(reason=reason, message=_text(packet.get("message"), 2000))
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


def _refused(reason: str, message: str) -> dict[str, Any]:
    return {"ok": False, "reason": reason, "message": message}


def _text(value: Any, most: int) -> str:
    return ("" if value is None else str(value))[:most]


def _messages(state: Any, whole: bool, before: int | None) -> int | None:
    """How many messages the checkpoint holds, for states that keep a list of that name."""
    if not isinstance(state, dict):
        return None
    part = state if whole else state.get("append", {})
    found = part.get("messages") if isinstance(part, dict) else None
    if not isinstance(found, list):
        return None if whole else before
    return len(found) + (0 if whole else before or 0)
