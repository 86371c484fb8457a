"""Bad input at the command line: one line that names the field and the remedy, the documented code, no traceback."""

from __future__ import annotations

import json

import pytest

from terminal import Terminal

BAD = [
    (["submit"], 2, "GOAL: is missing", "--from FILE"),
    (["submit", "  "], 2, "goal: is empty", "say what is wanted"),
    (["submit", "x", "--max-llm-calls", "-1"], 2, "budget.max_llm_calls: must not be negative", "whole number"),
    (["submit", "x", "--max-llm-calls", "many"], 2, "--max-llm-calls: is not a whole number", "--help"),
    (["submit", "x", "--max-llm-calls", "1.5"], 2, "--max-llm-calls: is not a whole number", "--help"),
    (["submit", "x", "--max-usd", "inf"], 2, "budget.max_usd: must be finite", "write dollars"),
    (["submit", "x", "--max-usd", "nan"], 2, "budget.max_usd: must be finite", "write dollars"),
    (["submit", "x", "--max-usd=-0.01"], 2, "budget.max_usd: must not be negative", "write dollars"),
    (["submit", "x", "--max-usd", "much"], 2, "budget.max_usd: 'much' is not a number", "write dollars"),
    (["submit", "x", "--step-s", "0"], 2, "timeouts.step_s: must be greater than 0", "write seconds"),
    (["submit", "x", "--task-s", "inf"], 2, "timeouts.task_s: must be finite", "there is no unlimited"),
    (["submit", "x", "--agent", "nobody"], 2, "agent: 'nobody' is not configured", "known are autogpt"),
    (["submit", "x", "--prohibit", "web_fetsh"], 2, "prohibited: 'web_fetsh' is neither a tool nor a host", "known tools are"),
    (["submit", "x", "--on-budget-exceeded", "shrug"], 2, "on_budget_exceeded: 'shrug' is unknown", "checkpoint_and_pause"),
    (["submit", "x", "--max-attempts", "0"], 2, "max_attempts: 0 is out of range", "use 1 to 100"),
    (["submit", "x", "--input", "{"], 2, "--input: is not JSON", "@FILE"),
    (["submit", "x", "--schema", "none.json"], 2, "--schema: 'none.json' cannot be read", "check the path"),
    (["submit", "x", "--file", "a.txt=none.txt"], 2, "files.a.txt: 'none.txt' is not a file that can be read", "check the path"),
    (["submit", "x", "--file", "../a.txt=/etc/hostname"], 2, "files.../a.txt: leads out of the workspace", "relative path"),
    (["submit", "x", "--metadata", "novalue"], 2, "--metadata: 'novalue' is not NAME=VALUE", "name=value"),
    (["submit", "x", "--from", "none.json"], 2, "--from: 'none.json' cannot be read", "check the path"),
    (["submit", "x", "--store", "mysql://x/y"], 2, "--store: 'mysql://x/y' is not a store", "postgresql://"),
    (["submit", "x", "--config", "none.toml"], 2, "--config: there is no file 'none.toml'", "tether init"),
    (["submit", "x", "--store", "sqlite:////proc/none/t.db"], 1, "", "; "),
    (["list", "--state", "lost"], 2, "--state: 'lost' is unknown", "use one of queued"),
    (["list", "--since", "yesterday"], 2, "--since: 'yesterday' is not a time", "2026-01-31"),
    (["list", "--limit", "0"], 2, "--limit", "--help"),
    (["list", "--cursor", "nonsense"], 2, "cursor", ""),
    (["show"], 2, "ID: is missing", "tether show --help"),
    (["show", "task_none"], 1, "no task 'task_none'", ""),
    (["show", "a", "b"], 2, "b: is one argument too many", "--help"),
    (["events", "task_none", "--type", "tool_begun"], 2, "--type: 'tool_begun' is not a kind of event", "tool_started"),
    (["wait", "task_none"], 1, "no task 'task_none'", ""),
    (["approve", "task_none", "--add", "max_usd"], 2, "--add: 'max_usd' is not NAME=VALUE", "name=value"),
    (["approve", "task_none", "--add", "max_usd=five"], 2, "--add max_usd: 'five' is not a number", "max_usd=5"),
    (["approve", "task_none", "--add", "max_cows=5"], 2, "add.max_cows: is not a known key", "max_usd"),
    (["update", "task_none"], 2, "update: changes nothing", "give budget"),
    (["sumbit", "x"], 2, "sumbit: there is no such command", "tether --help"),
    (["submit", "x", "--max-dollars", "5"], 2, "--max-dollars: there is no such option", "tether submit --help"),
]


@pytest.mark.parametrize(("words", "code", "problem", "remedy"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_is_one_line_that_names_field_and_remedy(
    terminal: Terminal, words: list[str], code: int, problem: str, remedy: str
) -> None:
    """Whatever is typed wrong, the user reads which field, what is wrong and what to write instead."""
    ended = terminal.run(*words)
    lines = ended.err.strip().splitlines()
    assert ended.code == code, ended
    assert lines[-1].startswith(f"error: {problem}"), ended.err
    assert remedy in lines[-1]
    assert len([line for line in lines if line.startswith("error:")]) == 1
    assert ended.out == ""


BAD_FILES = [
    ("[worker\nslots = 1", "is not valid TOML", "mend that line"),
    ('[worker]\nslots = "many"', "worker.slots:", "correct it"),
    ("[worker]\nslotz = 1", "worker.slotz:", "configuration.md"),
    ("[worker]\nslots = 0", "worker.slots:", "correct it"),
    (
        '[agents.mine]\nkind = "python"\nentry = "nothing"',
        "agents.mine.entry: 'nothing' is not an entry",
        "package.module:function",
    ),
    ('[agents.mine]\nkind = "command"', "agents.mine.command: is missing", "{goal}"),
    ("[models.x]\nmodel = 'y'", "models.x.upstream:", "correct it"),
    ('[models.x]\nupstream = "localhost:1"', "models.x.upstream:", "http"),
    ("[limits]\nbudget = { max_usd = -1 }", "limits.budget.max_usd: must not be negative", "write dollars"),
    (
        "[task_types.report]\ntimeouts = { task_s = 0 }",
        "task_types.report.timeouts.task_s: must be greater than 0",
        "write seconds",
    ),
    ('[store]\nurl = "oracle://x"', "", ""),
]


@pytest.mark.parametrize(("text", "problem", "remedy"), BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_a_corrupt_configuration_is_one_line_that_names_the_key(terminal: Terminal, text: str, problem: str, remedy: str) -> None:
    """A mistake in tether.toml is an error of ours (1) that names the key and what to do."""
    (terminal.folder / "tether.toml").write_text(text)
    ended = terminal.run("submit", "x")
    lines = ended.err.strip().splitlines()
    assert (ended.code, len(lines), ended.out) == (1, 1, ""), ended
    assert problem in lines[0]
    assert remedy in lines[0]


def test_a_configuration_that_is_not_text_is_refused(terminal: Terminal) -> None:
    """Bytes that are no UTF-8 in tether.toml lead to a line about the file, not to a traceback."""
    (terminal.folder / "tether.toml").write_bytes(b"\xff\xfe\x00")
    ended = terminal.run("list")
    assert ended.code == 1
    assert "tether.toml: is not valid TOML" in ended.err


def test_ceilings_name_the_limit(terminal: Terminal) -> None:
    """A task over a configured ceiling is refused with the ceiling in the message."""
    (terminal.folder / "tether.toml").write_text("[limits]\nbudget = { max_usd = 2 }\ntimeouts = { task_s = 60 }")
    over = terminal.run("submit", "x", "--max-usd", "3", "--task-s", "60")
    assert (over.code, "budget.max_usd: 3 is over the ceiling of 2" in over.err) == (2, True), over
    late = terminal.run("submit", "x", "--max-usd", "1", "--task-s", "61")
    assert (late.code, "timeouts.task_s: 61 is over the ceiling of 60" in late.err) == (2, True), late


def test_an_unknown_model_is_refused_with_those_that_are_known(terminal: Terminal) -> None:
    """A model that no section names or passes on is refused; one that a section passes on is not."""
    pinned = '[models.default]\nupstream = "http://127.0.0.1:9/v1"\nmodel = "small"\n'
    (terminal.folder / "tether.toml").write_text(pinned)
    ended = terminal.run("submit", "x", "--model", "large")
    assert (ended.code, ended.err) == (2, "error: model: 'large' is not configured; known are default; add [models.large]\n")
    assert terminal.run("submit", "x", "--model", "small").code == 0
    (terminal.folder / "tether.toml").write_text(f'{pinned}[models.any]\nupstream = "http://127.0.0.1:9/v1"')
    assert terminal.run("submit", "x", "--model", "large").code == 0


def test_json_errors_are_json(terminal: Terminal) -> None:
    """With --json an error is a problem document on stderr with code, field, problem and remedy."""
    ended = terminal.run("submit", "x", "--step-s", "0", "--json")
    found = json.loads(ended.err)
    assert (ended.code, ended.out) == (2, "")
    assert (found["code"], found["field"]) == ("invalid", "timeouts.step_s")
    assert found["problem"]
    assert found["remedy"]


def test_a_store_that_is_no_database_is_refused(terminal: Terminal) -> None:
    """A file that is no SQLite database is an error about the store, and the file is left as it was."""
    (terminal.folder / "notes.txt").write_text("not a database, just some notes of somebody" * 100)
    ended = terminal.run("list", "--store", "notes.txt")
    assert ended.code == 1
    assert "notes.txt" in ended.err
    assert (terminal.folder / "notes.txt").read_text().startswith("not a database")


def test_a_store_newer_than_the_code_is_refused(terminal: Terminal) -> None:
    """A store that a newer release upgraded is not touched; the line says to upgrade."""
    import sqlite3

    terminal.store().close()
    base = sqlite3.connect(terminal.folder / ".tether" / "tether.db")
    with base:
        base.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    base.close()
    ended = terminal.run("list")
    assert ended.code == 1
    assert "newer" in ended.err or "upgrade" in ended.err


def test_debug_shows_the_traceback(terminal: Terminal) -> None:
    """TETHER_DEBUG=1 shows where an error came from."""
    process = terminal.start("show", "task_none", TETHER_DEBUG="1")
    _, err = process.communicate(timeout=60)
    assert "Traceback" in err
    assert "error: no task 'task_none'" in err
