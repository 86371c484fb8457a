"""The life of a task through a real worker: results, limits, questions, pauses, failures; on both databases."""

from __future__ import annotations

import signal
import time

import pytest

from site_of_workers import Site, until
from tether.errors import TaskFailed


def test_a_goal_becomes_a_result(place: Site) -> None:
    """Submitted, worked on behind walls, and its result is in the store."""
    handle = place.submit("greet", "hello there")
    task = place.settled(handle)
    assert (task.state, task.reason, task.result) == ("succeeded", "completed", {"said": "hello there"})
    assert task.usage.steps == 1
    started = place.events(handle, "attempt_started")[0]
    assert set(started["isolation"]) == {"files", "processes", "network"}


def test_a_command_in_any_language_is_an_agent(place: Site) -> None:
    """The goal comes as a variable and on standard input; what it prints is the result."""
    task = place.settled(place.submit("tells", "the news"))
    assert (task.state, task.result) == ("succeeded", "told: the news\nthe news")


def test_a_failed_command_leaves_its_partial_result_and_files(place: Site) -> None:
    """Exit codes other than 0 fail the task; its result.json is kept as the partial result, its files are artifacts."""
    task = place.settled(place.submit("fails", max_attempts=1))
    assert (task.state, task.reason, task.partial) == ("failed", "agent_error", {"half": 1})
    assert {a["name"] for a in task.artifacts} >= {"part.txt", "result.json"}
    assert "retry" in task.actions


def test_a_step_that_hangs_is_ended_and_the_task_goes_on_from_its_checkpoint(place: Site) -> None:
    """The first attempt is killed at step_s with its stacks saved; the second starts from the checkpoint."""
    handle = place.submit("hang_after", timeouts={"step_s": 0.7})
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", {"n": 2, "attempt": 2})
    assert [a.reason for a in task.attempts] == ["step_timeout", "completed"]
    dump = place.client.state(handle.id, 1).dump
    assert dump is not None
    assert "hang_after" in dump["stacks"]
    assert dump["checkpoint"] == 1
    kinds = [event.type for event in handle.events()]
    assert kinds.index("state_dumped") < kinds.index("attempt_ended")


def test_the_task_clock_runs_over_all_attempts(place: Site) -> None:
    """task_s is active time summed over attempts, and when it is over the task is, whatever attempts are left."""
    handle = place.submit("walk", input={"steps": 1000, "pause_s": 0.05}, timeouts={"task_s": 1.0}, max_attempts=5)
    task = place.settled(handle)
    assert (task.state, task.reason) == ("failed", "task_timeout")
    assert task.partial["walked"] > 3
    assert len(task.attempts) == 1


def test_a_hanging_tool_is_ended_and_the_agent_is_told(place: Site) -> None:
    """A tool timeout kills that tool's processes only."""
    handle = place.submit("uses_slow_tool", input={"seconds": 100})
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", {"outcome": "timeout"})
    assert place.events(handle, "timeout_fired")[0]["level"] == "tool"
    assert place.events(handle, "tool_ended")[0]["outcome"] == "timeout"


def test_a_tool_within_its_time_gives_its_result(place: Site) -> None:
    """The tool's own limit leaves honest calls alone."""
    task = place.settled(place.submit("uses_slow_tool", input={"seconds": 0.01}))
    assert task.result == {"outcome": "ok"}


def test_a_question_pauses_the_task_and_its_answer_resumes_it(place: Site) -> None:
    """While a human thinks no process runs; the function is entered again and the same key has the answer."""
    handle = place.submit("asks")
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "question")
    assert task.approval is not None
    assert task.approval.question == "Which colour?"
    until(lambda: not place.survivors(), 5, "the end of the attempt")
    handle.answer("green", by="anna")
    task = handle.wait(until="final", timeout=30)
    assert (task.state, task.result) == ("succeeded", "painted green")


def test_a_used_up_budget_pauses_and_approval_goes_on(place: Site) -> None:
    """max_steps is refused at the step that would pass it; nothing done before is lost or done again."""
    handle = place.submit("walk", input={"steps": 6}, budget={"max_steps": 4})
    task = place.settled(handle)
    assert (task.state, task.reason, task.usage.steps) == ("paused", "budget", 4)
    assert task.partial == {"walked": 4}
    assert task.approval is not None
    details = task.approval.details
    assert (details["limit"], details["used"], details["step"], details["partial"]) == ("max_steps", 4, 4, {"walked": 4})
    assert [w["limit"] for w in place.events(handle, "budget_warning")] == ["max_steps"]
    handle.approve(add={"max_steps": 5}, by="anna")
    task = handle.wait(until="final", timeout=30)
    assert task.state == "succeeded"
    assert [n for n, _ in task.result["steps"]] == list(range(6))


def test_a_rejected_budget_ends_with_the_partial_result(place: Site) -> None:
    """Reject fails the task and keeps what there is."""
    handle = place.submit("walk", input={"steps": 6}, budget={"max_steps": 2})
    place.settled(handle)
    handle.reject(comment="enough", by="anna")
    task = handle.wait(until="final", timeout=30)
    assert (task.state, task.reason, task.partial) == ("failed", "rejected", {"walked": 2})
    with pytest.raises(TaskFailed) as failed:
        handle.result()
    assert failed.value.partial == {"walked": 2}


def test_a_decision_nobody_takes_ends_with_the_partial_result(place: Site) -> None:
    """After approval_s the task has failed, says so, and keeps what there is."""
    handle = place.submit("walk", input={"steps": 6}, budget={"max_steps": 2}, timeouts={"approval_s": 1.0})
    assert place.settled(handle).state == "paused"
    task = handle.wait(until="final", timeout=30)
    assert (task.state, task.reason, task.partial) == ("failed", "expired", {"walked": 2})
    assert "Nobody decided within 1 s." in task.message
    assert "retry" in task.actions


def test_pause_takes_hold_at_a_step_and_resume_goes_on(place: Site) -> None:
    """A pause on request loses nothing: every step happens once."""
    handle = place.submit("walk", input={"steps": 40, "first_pause_s": 0.5})  # it must not be done before it hears of the pause
    until(lambda: (handle.document().partial or {}).get("walked", 0) > 1, 30, "a few steps")
    handle.pause(by="anna")
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "operator")
    handle.resume(by="anna")
    task = handle.wait(until="final", timeout=40)
    assert [n for n, _ in task.result["steps"]] == list(range(40))
    assert {attempt for _, attempt in task.result["steps"]} == {1, 2}


def test_cancel_ends_the_processes_and_keeps_the_partial_result(place: Site) -> None:
    """Cancelled means gone, with state saved and partial kept."""
    handle = place.submit("walk", input={"steps": 1000, "pause_s": 0.05})
    until(lambda: (handle.document().partial or {}).get("walked", 0) > 1, 30, "a few steps")
    handle.cancel(by="anna")
    task = handle.wait(until="final", timeout=15)
    assert (task.state, task.reason) == ("cancelled", "cancelled")
    assert task.partial["walked"] > 1
    assert place.client.state(handle.id).dump is not None
    until(lambda: not place.survivors(), 5, "the end of the attempt")


def test_an_agent_that_raises_fails_with_the_cause_in_plain_words(place: Site) -> None:
    """The user reads the cause, the journal has the traceback, and the attempts are used up with back-off."""
    handle = place.submit("raises", max_attempts=2)
    task = place.settled(handle)
    assert (task.state, task.reason, task.partial) == ("failed", "agent_error", {"found": 3})
    assert "the archive is closed" in task.message
    assert "Traceback" not in task.message
    assert len(task.attempts) == 2
    assert any("honest.py" in row["text"] for row in place.events(handle, "agent_log"))


def test_an_agent_that_leaves_without_a_word_fails(place: Site) -> None:
    """An exit without a result is an agent error that names the exit code."""
    task = place.settled(place.submit("vanishes", max_attempts=1))
    assert (task.state, task.reason) == ("failed", "agent_error")
    assert "exit code 7" in task.message


@pytest.mark.parametrize(
    ("agent", "words"),
    [("unimportable", "agents.unimportable.entry"), ("absent", "there-is-no-such-program")],
)
def test_an_agent_that_cannot_start_says_what_to_change(place: Site, agent: str, words: str) -> None:
    """A configuration fault ends in a final state that names it, not in an endless retry."""
    task = place.settled(place.submit(agent, max_attempts=1))
    assert task.state == "failed"
    assert words in task.message


def test_an_agent_whose_module_starts_threads_gets_a_fresh_process(place: Site) -> None:
    """Threads cannot be forked, so each attempt imports the entry itself."""
    task = place.settled(place.submit("threads", "worked"))
    assert (task.state, task.result) == ("succeeded", "worked with 2 threads"), task.message


def test_a_result_must_match_its_schema(place: Site) -> None:
    """What does not match is refused with the place that does not, and the raw result is kept."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    good = place.settled(place.submit("returns", input={"n": 3}, result_schema=schema))
    assert good.result == {"n": 3}
    handle = place.submit("returns", input={"n": "three"}, result_schema=schema)
    bad = place.settled(handle)
    assert (bad.state, bad.reason) == ("failed", "invalid_result")
    assert "n:" in bad.message
    assert "three" in place.events(handle, "result_rejected")[0]["raw"]


def test_a_schema_that_never_ends_hurts_nobody(place: Site) -> None:
    """A catastrophic pattern costs its own task five seconds, and the worker nothing."""
    schema = {"type": "string", "pattern": "^(a+)+$"}
    handle = place.submit("returns", input="a" * 40 + "!", result_schema=schema)
    began = time.monotonic()
    assert place.settled(place.submit("greet", "meanwhile")).state == "succeeded"
    assert time.monotonic() - began < 4.5
    assert place.settled(handle).reason == "invalid_result"


def test_a_flood_of_output_is_bounded(place: Site) -> None:
    """50 MB of bytes that are no text: the task succeeds, the journal keeps a part and says how much it dropped."""
    handle = place.submit("many_words", input={"blocks": 800})
    task = place.settled(handle)
    assert (task.state, task.result) == ("succeeded", "done")
    rows = place.events(handle, "output")
    assert sum(len(row["text"]) for row in rows) <= 2 * 1024 * 1024
    assert rows[-1]["dropped"] > 40_000_000


def test_sigterm_hands_tasks_back_without_using_an_attempt(place_of_my_own: Site) -> None:
    """A drained worker leaves its tasks at a checkpoint and another one goes on."""
    place = place_of_my_own
    first = place.add_worker()
    # Slow enough that it is not done, on however busy a machine, before the signal arrives.
    handle = place.submit("walk", input={"steps": 40, "first_pause_s": 0.5}, max_attempts=1)
    until(lambda: (handle.document().partial or {}).get("walked", 0) > 1, 60, "a few steps")
    first.send_signal(signal.SIGTERM)
    first.wait(40)
    assert handle.document().state == "queued", handle.document().reason
    place.add_worker()
    task = handle.wait(until="final", timeout=90)
    assert task.state == "succeeded"
    assert [n for n, _ in task.result["steps"]] == list(range(40))


def test_a_task_nobody_took_in_time_expires(place_of_my_own: Site) -> None:
    """What waited longer than queue_s for a worker is not begun any more."""
    place = place_of_my_own
    handle = place.submit("greet", timeouts={"queue_s": 0.5})
    time.sleep(0.6)
    place.add_worker()
    task = handle.wait(until="final", timeout=20)
    assert (task.state, task.reason, task.attempts) == ("failed", "expired", ())
