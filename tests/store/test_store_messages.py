from __future__ import annotations

import pytest

from tether.lifecycle import TRANSITIONS, Reason, State
from tether.messages import Facts, brief, message
from tether.store.taskdocs import actions
from tether.task import Approval, Budget, Timeouts, Usage

_REACHED = sorted({(row.after, reason) for row in TRANSITIONS.values() for reason in (row.reasons or {None})}, key=str)


def _facts(**fields: object) -> Facts:
    return Facts(**{"budget": Budget(), "usage": Usage(), "timeouts": Timeouts(), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "reason"), _REACHED)
def test_every_way_to_stand_has_plain_words(state: State, reason: Reason | None) -> None:
    """Each state and reason that the transition table can reach has a message: sentences without code names or gaps."""
    text = message(state, reason, _facts())
    assert text[0].isupper()
    assert text.endswith((".", "?", "!"))
    assert not any(sign in text for sign in ("{", "}", "_", "None"))
    assert reason is None or brief(reason).endswith(".")


def test_messages_carry_the_figures() -> None:
    """Figures, limits and questions are filled in; a detail replaces the general words."""
    spent = _facts(usage=Usage(llm_calls=50, nanousd=1_500_000_000))
    assert "50 of 50 model calls, $1.50 of $5.00 spent" in message("paused", "budget", spent)
    assert "longer than 120 s" in message("failed", "step_timeout", _facts())
    ask = Approval(id="a", task_id="t", kind="question", question="Which one?", state="open", details={})
    assert "The agent asks: Which one? Answer to go on." in message("paused", "question", _facts(approval=ask))
    assert message("failed", "agent_error", _facts(detail="It divided by zero")).startswith("It divided by zero. ")
    assert "2 of 3 attempts failed" in message("queued", "agent_error", _facts(failures=2, max_attempts=3, attempt=2))
    assert (
        message("succeeded", "completed", _facts(usage=Usage(steps=1, llm_calls=2)))
        == "Done: 1 step and 2 model calls for $0.00."
    )


@pytest.mark.parametrize(
    ("state", "reason", "kind", "expected"),
    [
        ("queued", None, None, ("pause", "cancel", "escalate", "update")),
        ("running", None, None, ("pause", "cancel", "escalate", "update")),
        ("paused", "operator", None, ("resume", "cancel", "escalate", "update")),
        ("paused", "budget", "budget", ("approve", "reject", "cancel", "escalate", "update")),
        ("paused", "question", "question", ("answer", "reject", "cancel", "escalate", "update")),
        ("paused", "escalated", "escalated", ("approve", "reject", "cancel", "update")),
        ("succeeded", "completed", None, ()),
        ("failed", "stuck", None, ("retry", "escalate")),
        ("cancelled", "cancelled", None, ("retry",)),
    ],
)
def test_actions_are_what_the_table_allows(state: str, reason: str | None, kind: str | None, expected: tuple[str, ...]) -> None:
    """A user is offered exactly what will be accepted where the task stands."""
    ask = None if kind is None else Approval(id="a", task_id="t", kind=kind, question="?", state="open", details={})
    assert actions(state, reason, ask) == expected
