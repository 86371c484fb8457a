"""Attempts from order to end: agents of both kinds, tools, limits, in both isolations."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from stage import Stage, until
from tether import packets

Setting = Callable[..., Stage]
Code = Callable[..., str]

AGENT = """
import os, sys
def agent(task, link):
    print("goal", task.goal, flush=True)
    print("cwd", os.getcwd(), "home", os.environ["HOME"], flush=True)
    return {"pid": os.getpid()}
async def sleeper(task, link):
    import asyncio
    print("asleep", flush=True)
    await asyncio.sleep(1000)
def add(workspace, args, options):
    print("lost on purpose", flush=True)
    return {"sum": args["a"] + args["b"], "factor": options.get("factor"), "cwd": os.getcwd(), "here": str(workspace)}
async def later(workspace, args, options):
    return "later"
def broken(workspace, args, options):
    raise ValueError("no such place")
def huge(workspace, args, options):
    return "x" * (17 << 20)
def unsaid(workspace, args, options):
    return object()
"""


@pytest.fixture
def acting(setting: Setting, code: Code) -> Stage:
    return setting(entry="acting:agent", code_dir=code(acting_py=AGENT))


def test_a_python_agent_starts_speaks_and_ends(acting: Stage) -> None:
    """A Python function gets its task, works in its workspace, reports its result and leaves with exit code 0."""
    attempt = acting.start()
    assert attempt.hears("up")["walls"]["files"] == acting.ready.files
    attempt.hears("agent_started")
    attempt.prints(f"cwd {attempt.workspace} home {attempt.workspace}")
    assert attempt.hears("agent_exited")["status"] == 0
    assert [asked["op"] for asked in attempt.asked] == ["hello", "result"]
    packets.send(attempt.ctl, {"op": "end"})
    assert acting.gone(attempt) == 0


def test_a_command_gets_goal_and_environment(setting: Setting, tmp_path: os.PathLike[str]) -> None:
    """A program gets the goal as argument, on stdin and in TETHER_GOAL, starts in code_dir, and its exit code is kept."""
    acting = setting(kind="command", code_dir=str(tmp_path))
    script = 'echo "$1|$(cat)|$TETHER_GOAL|$PWD|$OPENAI_API_KEY"; echo oops >&2; kill -USR1 $$'
    attempt = acting.start(["sh", "-c", script, "sh", "{goal}"])
    attempt.prints(f"be tested|be tested|be tested|{tmp_path}|tth_test")
    assert os.WTERMSIG(attempt.hears("agent_exited")["status"]) == signal.SIGUSR1
    assert attempt.stderr.text() == "oops\n"


@pytest.mark.parametrize(("command", "exit_code"), [(["no-such-program"], 127), (["/"], 126)])
def test_a_command_that_cannot_be_started_says_why(setting: Setting, command: list[str], exit_code: int) -> None:
    """The reason is one line on stderr, and the exit code is the shell's."""
    attempt = setting(kind="command").start(command)
    assert os.waitstatus_to_exitcode(attempt.hears("agent_exited")["status"]) == exit_code
    assert attempt.stderr.text().startswith(f"tether: {command[0]}: ")
    assert attempt.stderr.text().count("\n") == 1


def test_a_tool_answers_from_a_process_of_its_own(acting: Stage) -> None:
    """A tool gets workspace, arguments and options; its result comes alone, what it prints does not mix with the agent's."""
    attempt = acting.start(entry="acting:sleeper")
    attempt.prints("asleep")
    answer = attempt.tool("acting:add", {"factor": 3}, a=2, b=40).answer()
    here = str(attempt.workspace)
    assert answer == {"ok": True, "result": {"sum": 42, "factor": 3, "cwd": here, "here": here}}
    assert attempt.hears("tool_exited", tool_id="t1")["status"] == 0
    assert attempt.tool("acting:later").answer() == {"ok": True, "result": "later"}
    assert attempt.stdout.text() == "asleep\n"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("acting:broken", "no such place"),
        ("acting:huge", "over 16,777,216"),
        ("acting:unsaid", "not JSON"),
        ("acting:none", "no none"),
    ],
)
def test_a_tool_that_fails_says_why(acting: Stage, entry: str, says: str) -> None:
    """An exception, a result that is too large or not JSON, a missing function: each is an answer with the reason."""
    attempt = acting.start(entry="acting:sleeper")
    answer = attempt.tool(entry).answer()
    assert answer["ok"] is False
    assert says in answer["error"]


def test_stacks_come_on_request(acting: Stage) -> None:
    """Asking an awaiting agent yields the stacks of its threads and of its asyncio tasks, and does not disturb it."""
    from tether.worker import killing

    attempt = acting.start(entry="acting:sleeper")
    attempt.prints("asleep")
    assert len(killing.ask_stacks(attempt.pid)) == 1
    until(lambda: "most recent call first" in attempt.stacks.text(), "thread stacks")
    until(lambda: "acting.py" in attempt.tasks.text(), "task stacks")
    assert attempt.heard("agent_exited") is None


def test_a_program_that_would_die_of_it_is_not_asked(setting: Setting) -> None:
    """A command without stacks to give is left alone."""
    from tether.worker import killing

    attempt = setting(kind="command").start(["sh", "-c", "echo there; sleep 1000"])
    attempt.prints("there")
    assert killing.ask_stacks(attempt.pid) == []
    assert attempt.heard("agent_exited") is None


def test_the_kernel_ends_an_attempt_nobody_ends(setting: Setting) -> None:
    """At deadline_s the agent is killed without any action of the supervisor."""
    attempt = setting(entry="tether.testing.misbehave:busy").start(deadline_s=0.3)
    attempt.prints("misbehaving: busy")
    assert os.WTERMSIG(attempt.hears("agent_exited")["status"]) == signal.SIGKILL


def test_init_ends_a_command_nobody_ends(setting: Setting) -> None:
    """Executing a program disarms the kernel's timer, so init ends the attempt itself, a second later."""
    acting = setting(kind="command")
    attempt = acting.start(["sh", "-c", "echo there; sleep 1000"], deadline_s=0.2)
    attempt.prints("there")
    acting.gone(attempt)
    assert acting.left() == []


def test_limits_hold_in_agent_and_tool(acting: Stage, code: Code) -> None:
    """Memory, open files, file size and core dumps are bounded in every process of the attempt."""
    code(limited_py=LIMITED)
    attempt = acting.start(entry="acting:sleeper", limits={"memory_bytes": 200 << 20, "open_files": 99, "file_bytes": 12345})
    result = attempt.tool("limited:limits").answer()["result"]
    assert result == {"files": 99, "file": 12345, "core": 0, "memory": "MemoryError"}


LIMITED = """
import resource
def limits(workspace, args, options):
    try:
        bytearray(1 << 30)
        memory = "taken"
    except MemoryError:
        memory = "MemoryError"
    hard = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] for name in ("NOFILE", "FSIZE", "CORE")}
    return {"files": hard["NOFILE"], "file": hard["FSIZE"], "core": hard["CORE"], "memory": memory}
"""


def test_many_starts_are_pipelined(setting: Setting) -> None:
    """Forty orders at once all start, each with its own channels, and all end on word of the supervisor."""
    acting = setting(kind="command")
    attempts = [acting.order(["echo", f"number {index}"]) for index in range(40)]
    for index, attempt in enumerate(attempts):
        attempt.prints(f"number {index}\n")
    for attempt in attempts:
        attempt.hears("agent_exited", status=0)
        packets.send(attempt.ctl, {"op": "end"})
    assert {acting.gone(attempt) for attempt in attempts} == {0}
