"""list, show, events, wait, result, state: what is printed where, as JSON and for people, and the exit codes."""

from __future__ import annotations

import json

import pytest

from played import PlayedWorker
from terminal import Terminal
from tether.lifecycle import Reason
from tether.task import ApprovalKind, Task


def _submit(terminal: Terminal, *words: str) -> str:
    ended = terminal.run("submit", *words)
    assert ended.code == 0, ended
    return ended.out.strip()


def test_submit_prints_the_id_alone_and_warns_without_a_worker(terminal: Terminal) -> None:
    """stdout is the id and nothing else; that nobody serves the agent is said on stderr."""
    ended = terminal.run("submit", "count to ten")
    assert ended.out.startswith("task_")
    assert len(ended.out.split()) == 1
    assert "no worker serves the agent 'autogpt'" in ended.err


def test_a_served_agent_needs_no_warning(terminal: Terminal, worker: PlayedWorker) -> None:
    """With a live worker there is nothing to warn of."""
    assert worker.agents == ("autogpt",)
    assert terminal.run("submit", "count to ten").err == ""


def test_json_is_the_task_document(terminal: Terminal, worker: PlayedWorker) -> None:
    """submit, show and wait print with --json exactly TaskDocument.document(), before or after the command."""
    task_id = _submit(terminal, "count", "--max-usd", "2", "--tag", "a", "--metadata", "k=v", "--input", "[1]")
    claim = worker.claim()
    worker.step(claim, 1, "one")
    worker.succeed(claim, {"n": 10})
    wanted = worker.store.get(task_id).document()
    assert terminal.run("show", task_id, "--json").json == wanted
    assert terminal.run("--json", "wait", task_id).json == wanted
    assert wanted["budget"]["max_usd"] == 2
    assert (wanted["tags"], wanted["metadata"], wanted["input"]) == (["a"], {"k": "v"}, [1])


def test_lists_are_pages(terminal: Terminal) -> None:
    """A list is {"data", "next_cursor"}, newest first, and the cursor leads on."""
    ids = [_submit(terminal, f"goal {n}") for n in range(3)]
    first = terminal.run("list", "--json", "--limit", "2").json
    assert [task["id"] for task in first["data"]] == ids[:0:-1]
    second = terminal.run("list", "--json", "--limit", "2", "--cursor", first["next_cursor"]).json
    assert ([task["id"] for task in second["data"]], second["next_cursor"]) == (ids[:1], None)
    assert ids[0] in terminal.run("list").out


def test_lists_can_be_narrowed(terminal: Terminal, worker: PlayedWorker) -> None:
    """--state, --tag and --task-type pick tasks."""
    done = _submit(terminal, "first", "--tag", "x", "--task-type", "report")
    worker.succeed(worker.claim(), "ok")
    waiting = _submit(terminal, "second")
    picked = {
        "--state=succeeded": [done],
        "--state=queued": [waiting],
        "--tag=x": [done],
        "--task-type=report": [done],
        "--agent=none": [],
        "--since=2099-01-01": [],
    }
    for option, wanted in picked.items():
        assert [task["id"] for task in terminal.run("list", "--json", option).json["data"]] == wanted, option


def test_show_tells_the_whole_story(terminal: Terminal, worker: PlayedWorker) -> None:
    """Goal, attempts, spend against budget, last thoughts, partial result and the exact commands stand on one page."""
    task_id = _submit(terminal, "find three ships", "--max-llm-calls", "4")
    claim = worker.claim()
    worker.step(claim, 1, "I look in the harbour", partial={"ships": ["Vasa"]})
    worker.fail(claim, message="the harbour is closed")
    shown = terminal.run("show", task_id)
    assert shown.code == 0
    for text in (
        "find three ships",
        "failed (agent_error)",
        "the harbour is closed",
        "1 of 4",
        "I look in the harbour",
        "Vasa",
        f"tether retry {task_id}",
        f"tether escalate {task_id}",
    ):
        assert text in shown.out, text


def test_what_an_agent_says_cannot_steer_the_terminal(terminal: Terminal, worker: PlayedWorker) -> None:
    """Escape sequences in thoughts, results and messages are dropped."""
    task_id = _submit(terminal, "be evil \x1b[2J")
    claim = worker.claim()
    worker.step(claim, 1, "\x1b]0;owned\x07 hidden \u202e text", partial="\x1b[31mred")
    worker.fail(claim, message="\x1b[1A gone")
    for command in ("show", "events", "list"):
        words = [command] if command == "list" else [command, task_id]
        ended = terminal.run(*words)
        assert "\x1b" not in ended.out + ended.err
        assert "\u202e" not in ended.out


@pytest.mark.parametrize("value", ["plain text", {"a": [1, None]}, 42, None, "naïve ☃"])
def test_result_prints_the_result_alone(terminal: Terminal, worker: PlayedWorker, value: object) -> None:
    """Text as it is, anything else as JSON; with --json always JSON."""
    task_id = _submit(terminal, "x")
    worker.succeed(worker.claim(), value)
    ended = terminal.run("result", task_id)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (value if isinstance(value, str) else json.dumps(value)) + "\n"
    assert terminal.run("result", task_id, "--json").json == value


ENDINGS = [
    (Reason.AGENT_ERROR, 3),
    (Reason.INVALID_RESULT, 3),
    (Reason.STEP_TIMEOUT, 6),
    (Reason.TASK_TIMEOUT, 6),
    (Reason.TOOL_TIMEOUT, 6),
    (Reason.IDLE_TIMEOUT, 6),
]


@pytest.mark.parametrize(("reason", "code"), ENDINGS)
def test_exit_codes_tell_how_a_task_failed(terminal: Terminal, worker: PlayedWorker, reason: Reason, code: int) -> None:
    """3 for a failure, 6 when a time limit ended it, from wait and result alike; the partial result goes to stderr."""
    task_id = _submit(terminal, "x")
    claim = worker.claim()
    worker.step(claim, 1, "hm", partial="half of it")
    worker.fail(claim, reason)
    for command in ("wait", "result"):
        ended = terminal.run(command, task_id)
        assert (ended.code, ended.out) == (code, ""), command
        assert "half of it" in ended.err
        assert f"tether retry {task_id}" in ended.err
    partial = terminal.run("result", task_id, "--partial")
    assert (partial.code, partial.out) == (code, "half of it\n")


def test_a_cancelled_task_is_a_failure(terminal: Terminal) -> None:
    """wait on a cancelled task exits with 3."""
    task_id = _submit(terminal, "x")
    assert terminal.run("cancel", task_id).code == 0
    assert terminal.run("wait", task_id).code == 3


def test_a_paused_task_says_what_it_asks_and_how_to_answer(terminal: Terminal, worker: PlayedWorker) -> None:
    """wait on a paused task exits with 5, with the question and the command on stderr."""
    task_id = _submit(terminal, "x")
    worker.pause(worker.claim(), ApprovalKind.QUESTION, "Which harbour?")
    ended = terminal.run("wait", task_id)
    assert (ended.code, ended.out) == (5, "")
    assert "Which harbour?" in ended.err
    assert f"tether answer {task_id}" in ended.err


def test_a_budget_pause_names_the_amount_to_add(terminal: Terminal, worker: PlayedWorker) -> None:
    """The command to copy has the limit that ran out and a sensible amount."""
    task_id = _submit(terminal, "x", "--max-llm-calls", "7")
    details = {"limit": "max_llm_calls", "used": 7, "allowed": 7}
    worker.pause(worker.claim(), ApprovalKind.BUDGET, "7 of 7 model calls are used", details)
    assert f"tether approve {task_id} --add max_llm_calls=7" in terminal.run("show", task_id).out


def test_wait_gives_up_with_its_own_code(terminal: Terminal) -> None:
    """wait --timeout ends with 6 and says that the task goes on."""
    task_id = _submit(terminal, "x")
    ended = terminal.run("wait", task_id, "--timeout", "0.2")
    assert ended.code == 6
    assert "still queued" in ended.err
    assert terminal.run("show", task_id, "--json").json["state"] == "queued"


def test_result_of_an_unfinished_task_is_an_error_of_use(terminal: Terminal) -> None:
    """result does not wait; it says what would."""
    task_id = _submit(terminal, "x")
    ended = terminal.run("result", task_id)
    assert (ended.code, ended.out) == (1, "")
    assert f"tether wait {task_id}" in ended.err
    assert "no partial result" in terminal.run("result", task_id, "--partial").err


def test_events_are_readable_and_exact(terminal: Terminal, worker: PlayedWorker) -> None:
    """The journal comes as lines for people and as documents for programs, narrowed by kind and number."""
    task_id = _submit(terminal, "x")
    claim = worker.claim()
    worker.step(claim, 1, "I read the file")
    worker.succeed(claim, "ok")
    stored = [event.document() for event in worker.store.events(task_id)]
    page = terminal.run("events", task_id, "--json").json
    assert page == {"data": stored, "next_cursor": None}
    lines = terminal.run("events", task_id).out.splitlines()
    assert len(lines) == len(stored)
    assert any("thinks: I read the file" in line for line in lines)
    only = terminal.run("events", task_id, "--type", "tool_ended", "--after", "2", "--json").json["data"]
    assert [event["type"] for event in only] == ["tool_ended"]


def test_events_can_be_followed_to_the_end(terminal: Terminal, worker: PlayedWorker) -> None:
    """events -f prints what happens while it happens and ends when the task is final."""
    task_id = _submit(terminal, "x")
    process = terminal.start("events", task_id, "-f", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["type"] == "task_submitted"
    claim = worker.claim()
    worker.step(claim, 1, "now")
    worker.succeed(claim, "ok")
    rest, err = process.communicate(timeout=30)
    seen = [json.loads(line)["seq"] for line in rest.splitlines()]
    assert (process.returncode, err) == (0, "")
    assert seen == list(range(2, seen[-1] + 1))
    assert json.loads(rest.splitlines()[-1])["type"] == "task_succeeded"


def test_state_prints_the_dump_and_the_checkpoint(terminal: Terminal, worker: PlayedWorker) -> None:
    """state shows stacks, calls in flight, processes and the checkpoint of an attempt."""
    task_id = _submit(terminal, "x")
    claim = worker.claim()
    worker.step(claim, 1, "now")
    worker.dump(claim, 'Thread 0x1:\n  File "agent.py", line 3 in hang')
    worker.fail(claim, Reason.STEP_TIMEOUT)
    ended = terminal.run("state", task_id, "--attempt", "1")
    for text in ("step_timeout", "line 3 in hang", "run_shell", "last words", "checkpoint 1"):
        assert text in ended.out, text
    document = terminal.run("state", task_id, "--json").json
    assert document["dump"]["stacks"].startswith("Thread")
    assert document["checkpoint"]["state"] == {"at": 1}


def test_state_of_an_attempt_that_was_not_killed(terminal: Terminal, worker: PlayedWorker) -> None:
    """Without a kill there is no dump, and state says so."""
    task_id = _submit(terminal, "x")
    worker.succeed(worker.claim(), "ok")
    ended = terminal.run("state", task_id)
    assert ended.code == 0
    assert "there is no dump" in ended.out


def test_commands_work_on_the_store_they_are_given(terminal: Terminal) -> None:
    """--store takes a URL or a path, relative to the current folder, before or after the command."""
    task_id = terminal.run("submit", "x", "--store", "other.db").out.strip()
    assert (terminal.folder / "other.db").is_file()
    assert terminal.run("--store", f"sqlite:///{terminal.folder}/other.db", "show", task_id).code == 0
    assert terminal.run("show", task_id).code == 1


def test_a_reader_that_leaves_is_no_error(terminal: Terminal) -> None:
    """`tether list | head -1` ends quietly."""
    import subprocess

    for n in range(3):
        _submit(terminal, f"goal {n}")
    command = " ".join(terminal.arguments("list")) + " | head -1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=terminal.folder,
        env=terminal.variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_task_can_come_from_a_file(terminal: Terminal) -> None:
    """submit --from takes the REST document; options win over it, key by key."""
    document = Task(goal="from a file", budget={"max_usd": 1, "max_steps": 9}, tags=["f"]).document()
    (terminal.folder / "task.json").write_text(json.dumps(document))
    shown = terminal.run("submit", "--from", "task.json", "--max-usd", "2", "--json").json
    assert (shown["goal"], shown["tags"]) == ("from a file", ["f"])
    assert (shown["budget"]["max_usd"], shown["budget"]["max_steps"]) == (2, 9)
    piped = terminal.run("submit", "--from", "-", "--json", input='{"goal": "from a pipe"}').json
    assert piped["goal"] == "from a pipe"


def test_the_same_key_gives_the_same_task(terminal: Terminal) -> None:
    """--idempotency-key makes submit safe to repeat, and another goal under the same key is refused."""
    first = _submit(terminal, "x", "--idempotency-key", "k1")
    assert _submit(terminal, "x", "--idempotency-key", "k1") == first
    other = terminal.run("submit", "y", "--idempotency-key", "k1")
    assert other.code == 1
    assert "idempotency_key" in other.err
