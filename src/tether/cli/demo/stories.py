"""The five stories. Each submits real tasks, tells what happens, and checks that it ended as promised."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.cli.actions import commands
from tether.cli.event_lines import money
from tether.cli.output import one_line
from tether.task import AutoGPTTask, Task

if TYPE_CHECKING:
    from tether.cli.demo.narrator import Narrator
    from tether.cli.demo.stage import Stage
    from tether.task import TaskDocument

__all__ = ["STORIES", "Story"]

_BY = "demo"
_KILL_AFTER_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Story:
    """A story: its title, one line that says why it matters, and how it is played."""

    title: str
    why: str
    play: Callable[[Stage, Narrator], None]


def _succeeds(stage: Stage, narrator: Narrator) -> None:
    goal = "Write the sum of 17 and 25 into the file sum.txt, then check the file and finish."
    narrator.command(f'tether run "{goal}"')
    handle = stage.client.submit(AutoGPTTask(goal=goal), by=_BY)
    task, _ = narrator.follow(handle)
    narrator.promise(f"succeeded: {task.result}", task.state == "succeeded", _where(task))
    file = stage.settings.workspaces / task.id / "sum.txt"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else None
    narrator.promise(f"sum.txt in its workspace holds {text}", text == "42", text)
    calls = [event for event in handle.events() if event.type == "call_ended"]
    spent = f"{len(calls)} model calls for {money(task.usage.nanousd)}, each in the journal"
    narrator.promise(spent, len(calls) == task.usage.llm_calls == 3 and task.usage.nanousd > 0, task.usage)


def _hangs(stage: Stage, narrator: Narrator) -> None:
    narrator.command("tether run 'Hash these words' --agent hasher --step-s 2 --input '{\"words\": [\"otter\", …]}'")
    words = ["otter", "heron", "gibbon", "newt"]
    made = Task(goal="Hash these words", agent="hasher", input={"words": words}, timeouts={"step_s": 2})
    handle = stage.client.submit(made, by=_BY)
    task, _ = narrator.follow(handle)
    narrator.command(f"tether state {task.id} --attempt 1")
    dump = stage.client.state(task.id, 1).dump or {}
    frames = [text for text in str(dump.get("stacks") or "").splitlines() if "File" in text][:3]
    stack = [re.sub(r'File ".*/', 'File "…/', frame) for frame in frames]
    narrator.quote(stack)
    narrator.promise(
        "the hanging attempt was killed at its limit, its Python stack saved first", "hasher" in "".join(stack), dump
    )
    reasons = [attempt.reason for attempt in task.attempts]
    narrator.promise("the second attempt went on from the checkpoint", reasons == ["step_timeout", "completed"], reasons)
    hashed = [event.data["text"] for event in handle.events() if event.type == "agent_log"]
    once = all(hashed.count(f"hashing {word}") == (2 if word == "gibbon" else 1) for word in words)
    narrator.promise("and did no finished step twice", once, hashed)
    narrator.promise(f"succeeded: {one_line(task.result, 90)}", task.state == "succeeded", _where(task))


def _runs_out(stage: Stage, narrator: Narrator) -> None:
    goal = "Collect three facts about otters in the file otters.txt."
    narrator.command(f'tether run "{goal}" --max-llm-calls 2')
    handle = stage.client.submit(AutoGPTTask(goal=goal, budget={"max_llm_calls": 2}), by=_BY)
    task, seen = narrator.follow(handle)
    narrator.promise(
        "paused before the third call, nothing lost", (task.state, task.reason) == ("paused", "budget"), _where(task)
    )
    narrator.promise("not one call more than allowed", task.usage.llm_calls == 2, task.usage)
    narrator.tell("Nobody has to hurry: its state is saved and its slot is free. A human decides:")
    narrator.command(f"tether approve {task.id} --add max_llm_calls=5")
    handle.approve(add={"max_llm_calls": 5}, comment="worth it", by=_BY)
    task, _ = narrator.follow(handle, seen)
    narrator.promise(f"succeeded: {one_line(task.result, 90)}", task.state == "succeeded", _where(task))
    narrator.promise("no call was paid twice: 4 in all", task.usage.llm_calls == 4, task.usage)


def _fails(stage: Stage, narrator: Narrator) -> None:
    narrator.command("tether run 'Read the archive' --agent archivist --max-attempts 1")
    handle = stage.client.submit(Task(goal="Read the archive", agent="archivist", max_attempts=1), by=_BY)
    task, _ = narrator.follow(handle)
    narrator.promise("failed, and says why", (task.state, task.reason) == ("failed", "agent_error"), _where(task))
    narrator.promise("the cause is in the message", "closed on Sundays" in task.message, task.message)
    narrator.command(f"tether result {task.id} --partial")
    narrator.quote([one_line(task.partial, 110)])
    narrator.promise("what it had found is kept", set(task.partial or ()) == {"ships", "storms"}, task.partial)
    narrator.tell("And there is always a next step:")
    narrator.quote(f"{command}   # {purpose}" for command, purpose in commands(task))
    narrator.promise("it can be retried or handed to a human", {"retry", "escalate"} <= set(task.actions), task.actions)


def _loses_its_worker(stage: Stage, narrator: Narrator) -> None:
    stage.add_worker("walker")
    narrator.command("tether submit 'Walk ten steps' --agent walker")
    handle = stage.client.submit(Task(goal="Walk ten steps", agent="walker"), by=_BY)
    stage.wait_for(lambda: handle.document().usage.steps > _KILL_AFTER_STEPS, 20, "the fourth step")
    seen = narrator.news(handle, 0)
    victim = handle.document().attempts[-1].worker
    pid = next(row.pid for row in stage.client.workers() if row.id == victim)
    narrator.command(f"kill -9 {pid}          # the worker, in the middle of a step")
    os.kill(pid, signal.SIGKILL)
    task, _ = narrator.follow(handle, seen)
    narrator.promise("succeeded all the same", task.state == "succeeded", _where(task))
    steps: list[list[int]] = (task.result or {}).get("steps", [])
    numbers = [number for _, number in steps]
    attempts = {attempt for attempt, _ in steps}
    found: Any = [(attempt.number, attempt.reason, attempt.worker) for attempt in task.attempts]
    narrator.promise("another worker went on from the checkpoint", len({a.worker for a in task.attempts}) == 2, found)
    narrator.promise("ten steps, each exactly once, by two attempts", numbers == list(range(1, 11)) and len(attempts) == 2, steps)


def _where(task: TaskDocument) -> str:
    return f"{task.state} ({task.reason}): {task.message}"


STORIES = (
    Story(title="A goal that succeeds", why="The built-in agent, with real tools in a workspace of its own.", play=_succeeds),
    Story(
        title="An agent that hangs",
        why="It is stuck inside C code: no exception, no timeout of Python's would ever reach it.",
        play=_hangs,
    ),
    Story(title="One that is over its budget", why="Budgets are checked before the spend, outside the agent.", play=_runs_out),
    Story(title="One that fails", why="Whatever happens, there is a reason, a partial result and a next step.", play=_fails),
    Story(
        title="A worker that dies",
        why="SIGKILL, no goodbye. Its attempts die with it; its task does not.",
        play=_loses_its_worker,
    ),
)
