"""Commands as agents: what they are started with and what their end means."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tether.agent.adapters.command import LARGEST_RESULT, outcome, prepare
from tether.agent.adapters.entry import EntryError

SPEC: dict[str, Any] = {
    "task_id": "task_1",
    "goal": "say “hello” to $HOME; {x}",
    "command": ["prog", "--goal={goal}", "{goal}", "{other}"],
    "workspace": "/w",
    "env": {"PATH": "/bin:/usr/bin", "LANG": "C.UTF-8"},
    "gateway": {"host": "127.0.0.1", "port": 4711, "token": "tth_x"},
    "proxy": {"port": None},
}


def test_the_goal_reaches_a_command_in_three_ways() -> None:
    """As {goal} in its arguments, unquoted and untouched, on its standard input, and in TETHER_GOAL."""
    argv, env, stdin = prepare(SPEC)
    assert argv == ["prog", f"--goal={SPEC['goal']}", SPEC["goal"], "{other}"]
    assert env["TETHER_GOAL"] == stdin.decode() == SPEC["goal"]


def test_the_environment_of_the_contract_is_complete() -> None:
    """Every variable of the contract is there and points at the attempt's own listener; nothing of the worker's comes along."""
    _, env, _ = prepare(SPEC)
    gateway = "http://127.0.0.1:4711"
    assert env["OPENAI_BASE_URL"] == env["OPENAI_API_BASE"] == env["OPENAI_API_BASE_URL"] == f"{gateway}/v1"
    assert env["ANTHROPIC_BASE_URL"] == gateway
    assert env["OPENAI_API_KEY"] == env["ANTHROPIC_API_KEY"] == env["TETHER_LINK_TOKEN"] == "tth_x"
    assert env["TETHER_LINK_URL"] == f"{gateway}/link"
    assert env["HTTP_PROXY"] == env["HTTPS_PROXY"] == env["http_proxy"] == "http://tether:tth_x@127.0.0.1:8081"
    assert (env["TETHER_TASK"], env["TETHER_WORKSPACE"], env["PATH"]) == ("task_1", "/w", "/bin:/usr/bin")
    assert "127.0.0.1" in env["NO_PROXY"]
    assert not set(env) & {"HOME", "USER"}


def test_a_prepared_command_starts(tmp_path: Path) -> None:
    """What prepare returns is what the kernel takes, with the longest goal a task may have."""
    spec = {**SPEC, "goal": "ü" * 100_000, "command": ["sh", "-c", "wc -c; echo ${TETHER_GOAL-unset}"]}
    argv, env, stdin = prepare(spec)
    done = subprocess.run(argv, env=env, input=stdin, capture_output=True, cwd=tmp_path, timeout=10)
    assert done.stdout.split() == [b"200000", b"unset"]


def test_a_goal_too_long_for_an_argument_says_what_to_do() -> None:
    """The kernel's limit is met with the remedy, not with "argument list too long"."""
    with pytest.raises(EntryError, match="standard input"):
        prepare({**SPEC, "goal": "ü" * 100_000})
    with pytest.raises(EntryError, match="empty"):
        prepare({**SPEC, "command": []})


def test_result_json_wins_over_what_was_printed(tmp_path: Path) -> None:
    """The result is the file's JSON, else the text the command printed."""
    assert outcome(tmp_path, " done \n", 0).result == "done"
    (tmp_path / "result.json").write_text(json.dumps({"a": [1, "ü"]}))
    found = outcome(tmp_path, "noise", 0)
    assert (found.result, found.problem) == ({"a": [1, "ü"]}, None)


@pytest.mark.parametrize(("status", "said"), [(3, "exit code 3"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_a_failed_command_keeps_its_result(tmp_path: Path, status: int, said: str) -> None:
    """An exit code other than 0 is a failure; what it left is still there for the user."""
    (tmp_path / "result.json").write_text("[1]")
    found = outcome(tmp_path, "", status)
    assert found.problem is not None
    assert said in found.problem
    assert (found.result, found.reason) == ([1], "agent_error")


def test_a_result_that_is_no_json_is_invalid(tmp_path: Path) -> None:
    """Broken JSON, NaN, links, pipes, folders and too large files are named as what they are, never followed or waited for."""
    file = tmp_path / "result.json"
    cases: list[tuple[Any, str]] = [
        (lambda: file.write_text("{"), "not JSON"),
        (lambda: file.write_text("[NaN]"), "NaN"),
        (lambda: file.write_text("[" * 100_000), "not JSON"),
        (lambda: file.symlink_to("/etc/hostname"), "plain file"),
        (lambda: os.mkfifo(file), "plain file"),
        (lambda: file.mkdir(), "plain file"),
        (lambda: file.write_bytes(b'"' + b"x" * LARGEST_RESULT + b'"'), "over"),
    ]
    for make, said in cases:
        make()
        found = outcome(tmp_path, "printed", 0)
        assert found.problem is not None
        assert said in found.problem
        assert (found.reason, found.result) == ("invalid_result", "printed")
        file.rmdir() if file.is_dir() else file.unlink()


def test_output_that_is_not_utf8_and_very_long_is_kept_within_bounds(tmp_path: Path) -> None:
    """A result file in another encoding is read with replacements; printed output keeps its end."""
    (tmp_path / "result.json").write_bytes(b'"caf\xe9"')
    assert outcome(tmp_path, "", 0).result == "caf\ufffd"
    (tmp_path / "result.json").unlink()
    assert outcome(tmp_path, "x" * 1_000_000 + "end", 0).result.endswith("end")
    assert len(outcome(tmp_path, "x" * 1_000_000, 0).result) <= 64_000
