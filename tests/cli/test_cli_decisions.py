"""approve, reject, answer, pause, resume, cancel, retry, escalate, update."""

from __future__ import annotations

from played import PlayedWorker
from terminal import Terminal
from tether.task import ApprovalKind


def _paused(terminal: Terminal, worker: PlayedWorker, kind: str) -> str:
    task_id = terminal.run("submit", "x", "--max-llm-calls", "1").out.strip()
    claim = worker.claim()
    worker.step(claim, 1, "so far", partial="half")
    worker.pause(claim, kind, "May I?", {"limit": "max_llm_calls", "used": 1, "allowed": 1})
    return task_id


def test_approve_adds_to_the_budget_and_queues_the_task(terminal: Terminal, worker: PlayedWorker) -> None:
    """approve --add puts the amount on top of the limit, and the journal says who did it."""
    task_id = _paused(terminal, worker, ApprovalKind.BUDGET)
    ended = terminal.run("approve", task_id, "--add", "max_llm_calls=5", "--add", "max_usd=0.5", "-m", "worth it", "--json")
    assert ended.code == 0, ended
    assert (ended.json["state"], ended.json["budget"]["max_llm_calls"], ended.json["budget"]["max_usd"]) == ("queued", 6, 5.5)
    decided = worker.store.events(task_id, types=["approval_decided"])[0].data
    assert (decided["decision"], decided["comment"]) == ("approve", "worth it")
    assert decided["by"]


def test_show_tells_what_to_decide(terminal: Terminal, worker: PlayedWorker) -> None:
    """On what it was spent, what is done, what more would buy, what would happen again, and until when: show and API alike."""
    task_id = terminal.run("submit", "x", "--max-llm-calls", "1").out.strip()
    claim = worker.claim()
    worker.step(claim, 1, "so far", partial="half of it")
    details = {
        "limit": "max_llm_calls",
        "spent_on": {
            "models": {"gpt-x": {"calls": 4, "usd": 0.25}},
            "web": {"a.org": {"calls": 2, "usd": 0}},
            "tools": {"look": 3},
        },
        "step": 3,
        "last_thought": "I look\x1b[2J again",
        "plan": ["look", "write"],
        "more": {"text": "50 more model calls are about 20 more steps and $3.00."},
        "replay": {"attempt": 1, "answers": 4, "calls": [{"name": "send_mail", "args": '{"to": "anna"}'}] * 12},
    }
    worker.pause(claim, ApprovalKind.BUDGET, "May I?", details)
    shown = terminal.run("show", task_id)
    for text in (
        "spent on gpt-x: 4 model calls, $0.2500",
        "spent on a.org: 2 web requests",
        "tools used: look ×3",
        "so far: 3 steps",
        "last thought: I look",
        "plan: look; write",
        "what more would buy: 50 more model calls are about 20 more steps and $3.00.",
        "4 answers of models are given again at no cost",
        "12 tool calls were seen",
        'send_mail {"to": "anna"}',
        "… 2 more; see --json",
        "half of it",
        "then it ends with what there is",
    ):
        assert text in shown.out, (text, shown.out)
    assert "\x1b" not in shown.out
    assert terminal.run("show", task_id, "--json").json["approval"]["details"]["replay"]["answers"] == 4


def test_approving_a_budget_pause_without_an_amount_is_refused(terminal: Terminal, worker: PlayedWorker) -> None:
    """An approval that would change nothing is refused with the amount to add; the task stays paused."""
    task_id = _paused(terminal, worker, ApprovalKind.BUDGET)
    ended = terminal.run("approve", task_id)
    assert ended.code == 2
    assert "max_llm_calls" in ended.err
    assert worker.store.get(task_id).state == "paused"


def test_an_approval_may_not_pass_a_ceiling(terminal: Terminal, worker: PlayedWorker) -> None:
    """[limits] holds for approvals too."""
    task_id = _paused(terminal, worker, ApprovalKind.BUDGET)
    (terminal.folder / "limits.toml").write_text(
        f'data_dir = "{terminal.folder}/.tether"\n[limits]\nbudget = {{ max_llm_calls = 5 }}'
    )
    ended = terminal.run("approve", task_id, "--add", "max_llm_calls=5", "--config", "limits.toml")
    assert ended.code == 2
    assert "budget.max_llm_calls: 6 is over the ceiling of 5" in ended.err


def test_answer_reaches_the_agent(terminal: Terminal, worker: PlayedWorker) -> None:
    """answer stores the text under the question's key and queues the task."""
    task_id = _paused(terminal, worker, ApprovalKind.QUESTION)
    assert terminal.run("answer", task_id, "the old harbour").code == 0
    claim = worker.claim()
    assert (claim.task_id, claim.answers) == (task_id, {"k": "the old harbour"})


def test_reject_ends_the_task_with_what_it_has(terminal: Terminal, worker: PlayedWorker) -> None:
    """reject fails the task as rejected and keeps the partial result."""
    task_id = _paused(terminal, worker, ApprovalKind.APPROVAL)
    found = terminal.run("reject", task_id, "-m", "no", "--json").json
    assert (found["state"], found["reason"], found["partial"]) == ("failed", "rejected", "half")


def test_decisions_that_do_not_fit_say_what_would(terminal: Terminal, worker: PlayedWorker) -> None:
    """Deciding where nothing is asked, resuming what waits for a decision, retrying what runs: one line, exit 1."""
    waiting = terminal.run("submit", "x").out.strip()
    nothing = terminal.run("approve", waiting)
    assert (nothing.code, "waits for no decision" in nothing.err) == (1, True), nothing
    again = terminal.run("retry", waiting)
    assert (again.code, "queued" in again.err) == (1, True), again
    terminal.run("cancel", waiting)
    asking = _paused(terminal, worker, ApprovalKind.QUESTION)
    resumed = terminal.run("resume", asking)
    assert resumed.code == 1
    assert "answer" in resumed.err or "decision" in resumed.err


def test_pause_and_resume_by_hand(terminal: Terminal) -> None:
    """A queued task pauses at once and goes back into the queue."""
    task_id = terminal.run("submit", "x").out.strip()
    paused = terminal.run("pause", task_id, "--json").json
    assert (paused["state"], paused["reason"]) == ("paused", "operator")
    assert terminal.run("wait", task_id).code == 5
    assert terminal.run("resume", task_id, "--json").json["state"] == "queued"


def test_cancel_and_retry(terminal: Terminal) -> None:
    """A cancelled task can be tried again."""
    task_id = terminal.run("submit", "x").out.strip()
    assert terminal.run("cancel", task_id, "--json").json["state"] == "cancelled"
    assert terminal.run("retry", task_id, "--json").json["state"] == "queued"


def test_escalate_asks_a_human(terminal: Terminal) -> None:
    """An escalated task stands among the approvals until somebody decides."""
    task_id = terminal.run("submit", "x").out.strip()
    found = terminal.run("escalate", task_id, "-m", "look at this", "--json").json
    assert (found["state"], found["reason"]) == ("paused", "escalated")
    assert [a["task_id"] for a in terminal.run("approvals", "--json").json["data"]] == [task_id]
    assert task_id in terminal.run("approvals").out
    assert terminal.run("approve", task_id, "--json").json["state"] == "queued"


def test_update_changes_only_what_is_given(terminal: Terminal) -> None:
    """update sets new totals; the rest stays."""
    task_id = terminal.run("submit", "x", "--max-usd", "1", "--step-s", "9").out.strip()
    found = terminal.run("update", task_id, "--max-usd", "2.5", "--task-s", "60", "--priority", "3", "--json").json
    assert (found["budget"]["max_usd"], found["budget"]["max_llm_calls"], found["priority"]) == (2.5, 50, 3)
    assert (found["timeouts"]["task_s"], found["timeouts"]["step_s"]) == (60, 9)


def test_a_decision_without_a_worker_says_so(terminal: Terminal) -> None:
    """A task that is queued where nobody serves its agent comes with the command that helps."""
    task_id = terminal.run("submit", "x").out.strip()
    terminal.run("cancel", task_id)
    assert "tether worker" in terminal.run("retry", task_id).err
