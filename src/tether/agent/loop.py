"""The built-in agent: a goal, then step after step one answer of the model and the tools it calls, until it calls `finish`.

What makes it resumable: the answer is made durable before its tools run, and the supervisor makes each tool's outcome durable
before we see it. So the next attempt finds an answer that is paid for, runs only those of its calls that never ran, and goes on.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic_ai.messages import ModelRequest, ModelResponse, ToolReturnPart

from tether.agent.answers import Answer, Call, read, tidied
from tether.agent.async_link import AsyncLink
from tether.agent.failure import AgentFailed
from tether.agent.hello import TaskView, ToolOutcome
from tether.agent.memory import Memory
from tether.agent.model import AgentModel, CallRefused, Unreadable, WindowFull
from tether.agent.prompts import NO_ANSWER, NO_TOOL, NOT_DONE, WRAP_UP, goal, system
from tether.agent.settings import LoopSettings
from tether.agent.toolbox import FINISH, REFLECTION, definitions
from tether.agent.tools import ASK_HUMAN
from tether.errors import BudgetExceeded, LinkError

__all__ = ["Loop", "builtin", "warm"]

_MOST_NUDGES = 2
_END_WAIT_S = 60.0
_FULL, _ROOM, _LESS_ROOM = 0.85, 0.5, 0.2
_MOST_DONE = 20


def builtin(spec: Mapping[str, Any]) -> Callable[[TaskView, AsyncLink], Awaitable[None]]:
    """The agent function of an AttemptSpec of kind builtin; it hands over its result itself."""

    async def autogpt(task: TaskView, link: AsyncLink) -> None:
        settings = LoopSettings.of(spec, link.window)
        tools = definitions(settings.tools.values(), task.result_schema)
        model = AgentModel(settings, tools)
        try:
            await Loop(task, link, settings, model, fixed_chars=len(json.dumps([t.parameters_json_schema for t in tools]))).work()
        finally:
            await model.close()

    return autogpt


def warm(config: Mapping[str, Any] | None = None) -> None:
    """Rehearse in the zygote, so that attempts forked from it start warm; leaves no socket, loop or thread."""
    from tether.agent.rehearsal import rehearse

    rehearse(config)


class Loop:
    """One attempt at the goal."""

    def __init__(self, task: TaskView, link: AsyncLink, settings: LoopSettings, model: AgentModel, *, fixed_chars: int) -> None:
        self._task = task
        self._link = link
        self._settings = settings
        self._model = model
        self._own_arguments = {t.name: _own_reflection(t.parameters) for t in settings.tools.values()}
        earlier = link.earlier_partial
        self._done: list[str] = list(earlier.get("done") or ()) if isinstance(earlier, dict) else []
        self._nudges = 0
        self._repaired = False
        self._finished = False
        if link.state is None:
            today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
            self._memory = Memory(system(today, settings.instructions), goal(task), fixed_chars=fixed_chars)
        else:
            self._memory = Memory.restored(link.state, fixed_chars=fixed_chars)
            self._nudges, self._repaired = link.state.get("nudges", 0), link.state.get("repaired", False)

    async def work(self) -> None:
        """Step until finished; raises AgentFailed, AttemptEnding, BudgetExceeded."""
        try:
            if self._memory.pending is not None:
                await self._act(self._read(self._memory.pending))
            while not self._finished:
                await self._step()
        except (BudgetExceeded, CallRefused):
            if not self._task.wraps_up:
                raise
            await self._wrap_up()

    async def _step(self) -> None:
        await self._link.step()
        if self._link.nudge:
            self._memory.note(self._link.nudge)
        response = await self._think()
        if response is None:
            self._nudge(NO_ANSWER)
            return
        self._memory.add(response)
        answer = self._read(response)
        self._nudges = self._nudges if not answer.calls else 0
        await self._save()
        if answer.thoughts or answer.plan:
            await self._link.thought(answer.thoughts, answer.plan, answer.criticism)
        await self._act(answer)

    # --- thinking ---------------------------------------------------------------------------------------------------

    async def _think(self) -> ModelResponse | None:
        """The model's answer, None when there is nothing in it; the memory is made to fit before."""
        room = self._settings.input_tokens
        if self._memory.tokens() > room * _FULL:
            await self._shrink(_ROOM)
        try:
            response = await self._ask()
        except WindowFull:
            await self._shrink(_LESS_ROOM)
            try:
                response = await self._ask()
            except WindowFull as error:
                raise AgentFailed("context_exceeded", f"the conversation does not fit the model's window: {error}") from None
        if response is None:
            return None
        tidy = tidied(response, {*self._settings.tools, FINISH}, self._memory.call_ids)
        return tidy if self._read(tidy).calls or (tidy.text or "").strip() else None

    async def _ask(self) -> ModelResponse | None:
        try:
            return await self._model.answer(self._memory.request())
        except Unreadable as error:
            await self._link.log(f"the model's answer cannot be read: {error}", "warning")
            return None
        except CallRefused:
            if self._task.wraps_up:
                raise
            # The supervisor pauses or ends the task now; whatever we did here would race with it.
            await self._link.wait_for_end(_END_WAIT_S)
            raise AgentFailed("upstream_error", "a call was refused for the budget, and nothing followed") from None

    async def _shrink(self, share: float) -> None:
        before = self._memory.tokens()
        fits = self._memory.shrink(self._settings.input_tokens, share)
        after = self._memory.tokens()
        await self._link.memory_trimmed(before, after, "trim")
        if not fits:
            message = (
                f"goal and instructions alone need about {after:,} of {self._settings.window:,} tokens of the model's window"
            )
            raise AgentFailed("context_exceeded", message)

    def _nudge(self, text: str) -> None:
        """Tell the model that its answer led nowhere, twice at most in a row."""
        if self._nudges >= _MOST_NUDGES:
            said = self._memory.pending or next(
                (m for m in reversed(self._memory.messages) if isinstance(m, ModelResponse)), None
            )
            last = " ".join((said.text or "").split())[:300] if said else ""
            message = f"the model called no tool in {_MOST_NUDGES + 1} answers in a row" + (f"; it said: {last}" if last else "")
            raise AgentFailed("agent_error", message)
        self._nudges += 1
        self._memory.note(text)

    def _read(self, response: ModelResponse) -> Answer:
        return read(response, self._own_arguments)

    # --- acting -----------------------------------------------------------------------------------------------------

    async def _act(self, answer: Answer) -> None:
        """Carry out the calls of an answer, `finish` last, and remember what they returned."""
        if not answer.calls:
            self._nudge(NO_TOOL)
            await self._link.step_ended()
            return
        ordered = sorted(answer.calls, key=lambda call: call.name == FINISH)
        if self._settings.parallel_tools:
            texts = await asyncio.gather(*(self._perform(call) for call in ordered if call.name != FINISH))
            texts += [await self._perform(call) for call in ordered if call.name == FINISH]
        else:
            texts = [await self._perform(call) for call in ordered]
        if self._finished:
            return
        returned = {call.id: text for call, text in zip(ordered, texts, strict=True)}
        parts = [ToolReturnPart(tool_name=c.name, content=returned[c.id], tool_call_id=c.id) for c in answer.calls]
        self._memory.add(ModelRequest(parts=parts))
        await self._link.step_ended()
        await self._show_progress(answer, ordered, texts)

    async def _perform(self, call: Call) -> str:
        """What the model is told a call returned."""
        if call.problem is not None:
            return f"Error: {call.problem}. Call {call.name} again with valid JSON."
        if call.name == FINISH:
            return await self._finish(call.args)
        if call.name not in self._settings.tools:
            return f"Error: there is no tool {call.name!r}. There are: {', '.join([*self._settings.tools, FINISH])}."
        if call.name == ASK_HUMAN:
            return await self._ask_human(call)
        tool = self._settings.tools[call.name]
        outcome = await self._link.call(call.name, call.args, call_id=call.id, rerun_unknown=tool.idempotent)
        return _bounded(_told(outcome), self._settings.observation_chars)

    async def _ask_human(self, call: Call) -> str:
        question, choices = call.args.get("question"), call.args.get("choices")
        if not isinstance(question, str) or not question.strip():
            return "Error: the argument 'question' is missing."
        offered = [str(choice) for choice in choices] if isinstance(choices, list) else None
        return "The user answered: " + await self._link.ask(question, key=call.id, choices=offered)

    async def _finish(self, args: Mapping[str, Any]) -> str:
        if "result" not in args:
            return "Error: the argument 'result' is missing. Call finish again with the complete result."
        summary = args.get("summary")
        try:
            await self._link.finish(args["result"], summary if isinstance(summary, str) else "", repairable=not self._repaired)
        except LinkError as error:
            if error.reason != "invalid_result":
                raise
            if self._repaired:
                raise AgentFailed("invalid_result", str(error)) from None
            self._repaired = True
            return f"The result was not accepted: {error}. Call finish again with a result that is valid."
        self._finished = True
        return ""

    async def _wrap_up(self) -> None:
        """The budget is used up: one last answer of the model turns what there is into a partial answer."""
        if self._memory.pending is not None:
            calls = self._read(self._memory.pending).calls
            undone = [ToolReturnPart(tool_name=c.name, content=NOT_DONE, tool_call_id=c.id) for c in calls]
            self._memory.add(ModelRequest(parts=undone))
        self._memory.note(WRAP_UP)
        try:
            response = await self._model.answer(self._memory.request(), final=True)
        except (CallRefused, Unreadable, WindowFull, AgentFailed) as error:
            await self._link.log(f"no last answer could be had: {error}", "warning")
            await self._link.give_partial(self._link.earlier_partial or {"done": self._done})
            return
        answer = self._read(tidied(response, {FINISH}, self._memory.call_ids))
        args = next((call.args for call in answer.calls if call.name == FINISH and "result" in call.args), None)
        said = (response.text or "").strip() or answer.thoughts
        await self._link.give_partial(args["result"] if args else said or {"done": self._done})

    # --- keeping ----------------------------------------------------------------------------------------------------

    async def _save(self) -> None:
        """Make the memory durable: as a delta, or whole when older messages changed or the supervisor lost the base."""
        new, whole = self._memory.unsaved()
        own = {"nudges": self._nudges, "repaired": self._repaired}
        if not whole:
            try:
                await self._link.extend(append={"messages": new}, changed=own)
            except LinkError as error:
                if error.reason != "stale_base":
                    raise
                whole = True
        if whole:
            await self._link.checkpoint({**self._memory.state(), **own})
        self._memory.saved()

    async def _show_progress(self, answer: Answer, calls: Sequence[Call], texts: Sequence[str]) -> None:
        """What the user gets if this attempt ends early."""
        self._done += [f"{call.name}: {' '.join(text.split())[:200]}" for call, text in zip(calls, texts, strict=True)]
        self._done = self._done[-_MOST_DONE:]
        await self._link.partial({"last_thought": answer.thoughts, "done": self._done})


def _own_reflection(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    own: Mapping[str, Any] = parameters.get("properties") or {}
    return tuple(key for key in REFLECTION if key in own)


def _told(outcome: ToolOutcome) -> str:
    if outcome.outcome == "ok":
        return outcome.result if isinstance(outcome.result, str) else json.dumps(outcome.result, ensure_ascii=False)
    if outcome.outcome == "outcome_unknown":
        return (
            "It is not known whether this call took effect: the attempt that made it was interrupted. "
            "Check what it changed before you repeat it."
        )
    word = {"timeout": "Timeout", "refused": "Refused"}.get(outcome.outcome, "Error")
    return f"{word}: {outcome.error or 'no details'}"


def _bounded(text: str, most: int) -> str:
    """The text, or its beginning and end when it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n… {len(text) - head - tail:,} characters left out …\n{text[-tail:]}"
