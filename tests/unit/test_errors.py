"""Errors have a stable code and a message that says what to do next."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import pytest

from tether import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TetherError)]


def test_the_tree_on_top_is_the_tree_below() -> None:
    """The tree drawn in the module's docstring names every error, and its root is the root of all."""
    drawn = set(re.findall(r"[─ ] ?(\w+) {2,}\S", errors.__doc__ or "")) | {"TetherError"}
    assert drawn == {kind.__name__ for kind in ALL}
    assert set(errors.__all__) == drawn


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_every_error_has_a_code_and_a_docstring(kind: type[errors.TetherError]) -> None:
    """Each error can be told by its code, in words a program can keep."""
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.ValidationError("budget.max_usd", "must be finite", "write 5"), ["budget.max_usd: must be finite; write 5"]),
        (errors.NotFound("task", "task_1", "see tether list"), ["no task 'task_1'; see tether list"]),
        (errors.BudgetExceeded("max_usd", 4.9, 5, 0.2), ["max_usd", "4.9 of 5", "tether approve ID --add max_usd=N"]),
        (errors.UnpricedModel("llama"), ["llama", '[prices."llama"]', "free = true"]),
        (errors.IdempotencyConflict("k", "task_1"), ["'k'", "task_1", "new key"]),
        (errors.LeaseLost("task_1"), ["task_1", "must stop"]),
        (errors.WaitTimeout("task_1", "running", 2.5), ["still running after 2.5 s", "wait again or cancel"]),
        (errors.ToolFailed("web_fetch", "timeout", "30 s"), ["tool web_fetch timeout: 30 s"]),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)
def test_messages_say_what_happened_and_what_to_do(error: errors.TetherError, words: list[str]) -> None:
    """The message names what it is about and the remedy."""
    assert all(word in str(error) for word in words)


def test_task_failed_carries_the_partial_result() -> None:
    """Who catches TaskFailed has what was accomplished."""
    task = SimpleNamespace(id="task_1", state="failed", reason="step_timeout", message="It hung.", partial={"found": 3})
    error = errors.TaskFailed(task)
    assert (error.partial, error.reason, error.task) == ({"found": 3}, "step_timeout", task)
    assert "It hung." in str(error)
