"""`tether run` with real workers and agents and a scripted model: what goes where, exit codes, Ctrl-C, questions."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal import Terminal
from tether.testing import ScriptedModels, call, reply

AGENTS = """
import time

def hello(task, link):
    return f"hello {task.goal}"

def broken(task, link):
    link.step()
    link.partial({"half": True})
    raise ValueError("the sea is too deep")

def slow(task, link):
    for number in range((link.state or {"n": 0})["n"], 100):
        link.step()
        time.sleep(0.1)
        link.checkpoint({"n": number + 1})
    return "there"
"""

CONFIG = """
[worker]
retry_backoff_s = 0.2

[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 32000

[agents.hello]
entry = "agents:hello"
[agents.broken]
entry = "agents:broken"
[agents.slow]
entry = "agents:slow"
[agents.cat]
kind = "command"
command = ["bash", "-c", "cat $TETHER_WORKSPACE/notes/today.txt"]
[agents.sleepy]
kind = "command"
command = ["sleep", "60"]
"""

SCRIPT = {
    "Write hi": [
        reply(tools=[call("write_file", thought="I write it.", path="hi.txt", content="hi")]),
        reply(tools=[call("finish", thought="Done.", result="hi is written")]),
    ],
    "Ask me": [
        reply(tools=[call("ask_human", thought="I do not know.", question="Which harbour?")]),
        reply(tools=[call("finish", thought="Now I know.", result="the old one")]),
    ],
}


def _eventually(condition: Callable[[], bool], what: str, timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture
def place(terminal: Terminal) -> Iterator[Terminal]:
    """A terminal in a configured folder with agents and a scripted model; background workers are gone afterwards."""
    with ScriptedModels(SCRIPT) as models:
        (terminal.folder / "agents.py").write_text(AGENTS)
        (terminal.folder / "tether.toml").write_text(CONFIG.format(upstream=models.base_url))
        yield terminal
        store = terminal.store()
        pids = [row.pid for row in store.workers()]
        store.close()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        _eventually(lambda: all(_is_gone(pid) for pid in pids), "the workers to end")


def test_run_prints_the_result_alone_and_starts_a_worker_only_once(place: Terminal) -> None:
    """stdout is the result, stderr the rest; the worker in the background serves the next run too."""
    first = place.cold("run", "sea", "--agent", "hello")
    assert (first.code, first.out) == (0, "hello sea\n"), first
    assert "starting a worker" in first.err
    assert "attempt started" in first.err
    second = place.run("run", "sky", "--agent", "hello", "--json")
    assert (second.code, second.json["state"], second.json["result"]) == (0, "succeeded", "hello sky"), second
    assert "starting a worker" not in second.err
    wanted = place.run("show", second.json["id"], "--json").json
    assert second.json == wanted


def test_the_built_in_agent_works_in_its_workspace(place: Terminal) -> None:
    """A goal for the built-in agent goes through model and tools, and the file it writes is kept."""
    ended = place.run("run", "Write hi into hi.txt")
    assert (ended.code, ended.out) == (0, "hi is written\n"), ended
    assert "thinks: I write it." in ended.err
    assert "runs write_file" in ended.err
    task_id = next(word for word in ended.err.split() if word.startswith("task_"))
    assert (place.folder / ".tether" / "workspaces" / task_id / "hi.txt").read_text() == "hi"


def test_a_failure_shows_reason_partial_result_and_what_to_do(place: Terminal) -> None:
    """A failed run exits with 3, says why, and has the partial result and the commands on stderr."""
    ended = place.run("run", "x", "--agent", "broken", "--max-attempts", "1")
    assert (ended.code, ended.out) == (3, ""), ended
    for text in ("the sea is too deep", "half", "tether retry task_"):
        assert text in ended.err


def test_a_file_of_the_current_folder_goes_with_the_task(place: Terminal) -> None:
    """--file is found from where the command is typed, and stands in the workspace under its name."""
    (place.folder / "deep").mkdir()
    (place.folder / "deep" / "mine.txt").write_text("three ships\n")
    ended = place.run("run", "x", "--agent", "cat", "--file", "notes/today.txt=deep/mine.txt")
    assert (ended.code, ended.out.strip()) == (0, "three ships"), ended


def test_a_time_limit_has_its_own_code(place: Terminal) -> None:
    """A run that its time limit ends exits with 6."""
    ended = place.run("run", "x", "--agent", "sleepy", "--task-s", "1")
    assert (ended.code, ended.out) == (6, ""), ended
    assert "task_timeout" in ended.err


def test_a_budget_of_zero_pauses_and_an_approval_lets_it_go_on(place: Terminal) -> None:
    """Without a terminal a pause ends the run with 5 and the command to copy; that command and wait finish the task."""
    paused = place.run("run", "Write hi into hi.txt", "--max-llm-calls", "0")
    assert (paused.code, paused.out) == (5, ""), paused
    assert "--add max_llm_calls=" in paused.err
    task_id = next(word for word in paused.err.split() if word.startswith("task_"))
    assert place.run("approve", task_id, "--add", "max_llm_calls=5").code == 0
    done = place.run("wait", task_id)
    assert (done.code, done.out) == (0, "hi is written\n"), done


def test_nothing_is_started_for_a_task_that_cannot_be(place: Terminal) -> None:
    """An unknown agent is refused before any worker is started."""
    ended = place.run("run", "x", "--agent", "nobody")
    assert ended.code == 2
    assert "starting a worker" not in ended.err
    assert not (place.folder / ".tether" / "logs").exists()


def _started(place: Terminal) -> tuple[subprocess.Popen[str], str]:
    process = place.start("run", "walk", "--agent", "slow")
    assert process.stderr is not None
    line = ""
    task_id = ""
    while "step 1" not in line:
        line = process.stderr.readline()
        assert line, "the run ended early"
        task_id = line.strip() if line.startswith("task_") else task_id
    return process, task_id


def test_ctrl_c_leaves_the_task_running(place: Terminal) -> None:
    """One Ctrl-C ends the run with 130 and the way back; the task goes on."""
    process, task_id = _started(place)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, ""), err
    assert f"tether wait {task_id}" in err
    assert place.run("show", task_id, "--json").json["state"] == "running"
    place.run("cancel", task_id)
    assert place.run("wait", task_id, "--until", "final").code == 3


def test_ctrl_c_twice_cancels_the_task(place: Terminal) -> None:
    """Two Ctrl-C cancel the task, and the run ends when it is cancelled."""
    process, task_id = _started(place)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "again within" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    assert place.run("show", task_id, "--json").json["state"] == "cancelled"


@pytest.mark.parametrize("command", ["worker", "up"])
def test_a_worker_in_the_foreground_serves_until_it_is_told_to_stop(place: Terminal, command: str) -> None:
    """`tether worker` and `tether up` work on submitted tasks and end with 0 on SIGTERM."""
    serving = place.start(command, "--slots", "2")
    task_id = place.run("submit", "sea", "--agent", "hello").out.strip()
    assert place.run("wait", task_id).out == "hello sea\n"
    serving.send_signal(signal.SIGTERM)
    _, err = serving.communicate(timeout=40)
    assert serving.returncode == 0, err
    assert "Traceback" not in err


def test_a_worker_that_can_do_nothing_does_not_start(terminal: Terminal) -> None:
    """Without any model the built-in agent cannot work; a worker for nothing else says what to do, and ends."""
    ended = terminal.run("worker")
    assert (ended.code, len(ended.err.strip().splitlines())) == (1, 4), ended
    (terminal.folder / "tether.toml").write_text('[agents.sleepy]\nkind = "command"\ncommand = ["true"]')
    ended = terminal.run("worker", "--idle-exit", "0.2")
    assert ended.code == 0
    assert "autogpt is not served" in ended.err


def _until(fd: int, text: str, timeout_s: float = 60) -> str:
    seen = ""
    deadline = time.monotonic() + timeout_s
    while text not in seen:
        left = deadline - time.monotonic()
        assert left > 0, seen
        if select.select([fd], [], [], left)[0]:
            try:
                seen += os.read(fd, 65536).decode(errors="replace")
            except OSError:
                break
    assert text in seen, seen
    return seen


def test_a_question_is_asked_at_the_terminal(place: Terminal) -> None:
    """On a terminal the live view shows the task, the question is asked there, and the run goes on with the answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        place.arguments("run", "Ask me something"),
        cwd=place.folder,
        env={**place.variables, "TERM": "xterm"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        seen = _until(ours, "your answer")
        assert "Which harbour?" in seen
        assert "model calls" in seen
        os.write(ours, b"the old one\n")
        _until(ours, "succeeded")
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "the old one\n")
    finally:
        process.kill()
        os.close(ours)
