"""`tether exec` with real programs, workers and a scripted model: output, exit codes, limits, budget, Ctrl-C, walls."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal import Ended, Terminal
from tether.testing import ScriptedModels, reply

ASKS = """
import json, os, sys, urllib.error, urllib.request

def ask(text):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
        {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]

for number in range(int(sys.argv[1])):
    try:
        print(ask(f"question {number}"), flush=True)
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}")
"""
MODEL_KEY = "sk-a-key-the-program-must-not-see-0123456789"


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
def shell(terminal: Terminal) -> Iterator[Terminal]:
    """A terminal in a folder of a user's own, with a provider's key in the environment and no configuration."""
    with ScriptedModels(lambda request: reply(f"answer to {request.last}"), api_key=MODEL_KEY) as models:
        terminal.variables |= {"OPENAI_API_KEY": MODEL_KEY, "OPENAI_BASE_URL": models.base_url}
        home = terminal.folder
        terminal.folder = home / "project"
        terminal.folder.mkdir()
        (terminal.folder / "asks.py").write_text(ASKS)
        yield terminal
        terminal.folder = home
        store = terminal.store()
        pids = [row.pid for row in store.workers()]
        store.close()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        _eventually(lambda: all(_is_gone(pid) for pid in pids), "the workers to end")


def _task_id(ended: Ended) -> str:
    return next(word for word in ended.err.split() if word.startswith("task_"))


def test_a_program_runs_as_it_would_without(shell: Terminal) -> None:
    """Its output comes out on its own streams, it writes into the current folder, and success is 0."""
    text = "echo said; echo aside >&2; pwd > where.txt; cat"
    ended = shell.cold("exec", "--", "bash", "-c", text)
    assert (ended.code, ended.out) == (0, f"said\nbash -c '{text}'"), ended
    assert "aside" in ended.err.splitlines()
    assert (shell.folder / "where.txt").read_text().strip() == str(shell.folder)
    task = shell.run("show", _task_id(ended), "--json").json
    assert (task["state"], task["task_type"], task["artifacts"]) == ("succeeded", "exec", [])


@pytest.mark.parametrize(("script", "code"), [("exit 42", 42), ("kill -TERM $$", 143), ("no-such-program-here", 127)])
def test_its_exit_code_is_passed_through(shell: Terminal, script: str, code: int) -> None:
    """A program that fails ends the command with its own code, a signal with 128 and its number; it is not started again."""
    ended = shell.run("exec", "--", "sh", "-c", script)
    assert (ended.code, ended.out) == (code, ""), ended
    task = shell.run("show", _task_id(ended), "--json").json
    assert (task["state"], task["reason"], len(task["attempts"])) == ("failed", "agent_error", 1)


def test_its_model_calls_are_metered_and_it_never_sees_the_key(shell: Terminal) -> None:
    """Whatever model it names, calls go through the gateway, are counted and priced; the key stays outside."""
    ended = shell.run("exec", "--max-usd", "1", "--", sys.executable, "asks.py", "2")
    assert (ended.code, ended.out) == (0, "answer to question 0\nanswer to question 1\n"), ended
    usage = shell.run("show", _task_id(ended), "--json").json["usage"]
    assert usage["llm_calls"] == 2
    assert usage["usd"] > 0
    look = "env; cat .env 2>/dev/null; ls -a ../.tether 2>/dev/null; true"
    (shell.folder / ".env").write_text(f"OPENAI_API_KEY={MODEL_KEY}\n")
    seen = shell.run("exec", "--", "sh", "-c", look)
    assert seen.code == 0, seen
    assert MODEL_KEY not in seen.out
    assert "tether.db" not in seen.out


def test_a_used_up_budget_stops_it(shell: Terminal) -> None:
    """The call over the limit never reaches the provider; the task waits for a human, which has its own code."""
    ended = shell.run("exec", "--max-llm-calls", "2", "--on-budget-exceeded", "terminate", "--", sys.executable, "asks.py", "5")
    assert ended.code == 3, ended
    assert ended.out.count("answer") == 2
    task = shell.run("show", _task_id(ended), "--json").json
    assert (task["state"], task["reason"], task["usage"]["llm_calls"]) == ("failed", "budget", 2)
    paused = shell.run("exec", "--max-llm-calls", "1", "--", sys.executable, "asks.py", "5")
    assert (paused.code, paused.out.count("answer")) == (5, 1), paused
    assert f"tether exec --attach {_task_id(paused)}" in paused.err
    shell.run("cancel", _task_id(paused))


def test_a_limit_of_time_has_its_own_code(shell: Terminal) -> None:
    """Hanging longer than allowed is a kill of everything it started, and 6."""
    ended = shell.run("exec", "--task-s", "1", "--", "sh", "-c", "echo begun; setsid sleep 60 & sleep 60")
    assert (ended.code, ended.out) == (6, "begun\n"), ended
    assert "task_timeout" in ended.err


def test_variables_and_files_are_given_on_purpose(shell: Terminal) -> None:
    """Nothing of the shell's environment reaches the program but what --env names; nothing outside can be read or written."""
    outside = shell.folder.parent / "outside"
    outside.mkdir()
    (outside / "note").write_text("far away\n")
    look = "echo $MINE.$GIVEN.$SECRET; cat ../outside/note; echo x > ../outside/new"
    words = ("--env", "MINE", "--env", "GIVEN=too", "--readable", str(outside))
    ended = shell.run("exec", *words, "--", "sh", "-c", look, MINE="this", SECRET="not this")
    assert ended.out == "this.too.\nfar away\n", ended
    assert ended.code != 0
    assert not (outside / "new").exists()
    (kept,) = (shell.folder.parent / ".tether" / "exec").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_ctrl_c_leaves_it_running_and_attach_comes_back(shell: Terminal) -> None:
    """One Ctrl-C ends the command with 130; --attach shows all of its output and ends with its code."""
    process = shell.start("exec", "--", "sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo done; exit 9")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    task_id = next(word for word in err.split() if word.startswith("task_"))
    (shell.folder / "go").touch()
    ended = shell.run("exec", "--attach", task_id)
    assert (ended.code, ended.out) == (9, "begun\ndone\n"), ended


def test_json_is_the_task_alone(shell: Terminal) -> None:
    """With --json stdout is the task document; what the program wrote goes to stderr."""
    ended = shell.run("exec", "--json", "--", "sh", "-c", "echo said; exit 4")
    assert (ended.code, ended.json["reason"]) == (4, "agent_error"), ended
    assert "said" in ended.err


def test_no_task_can_bring_a_command_along(shell: Terminal) -> None:
    """Only the worker that `exec` starts knows its program: nobody can submit it under that name, whatever the task says."""
    (shell.folder / "x").touch()
    ended = shell.run("exec", "--", "rm", "x")
    assert ended.code == 0, ended
    agent = shell.run("show", _task_id(ended), "--json").json["agent"]
    document = json.dumps({"goal": "rm y", "agent": agent, "input": {"command": ["rm", "y"]}})
    refused = shell.run("submit", "--from", "-", input=document)
    assert refused.code == 2, refused
    assert "is not configured" in refused.err
    for words in (("exec",), ("exec", "--attach", "task_x", "--", "true"), ("exec", "--env", "NOT_SET_HERE", "--", "true")):
        assert shell.run(*words).code in (1, 2)
