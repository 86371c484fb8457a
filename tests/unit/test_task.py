"""What a user submits is checked when it is made, and says which field is wrong and what to write instead."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tether.errors import ValidationError
from tether.task import (
    Answer,
    Approval,
    Attempt,
    AutoGPTTask,
    Budget,
    Task,
    TaskDocument,
    Timeouts,
    Usage,
    nano_from_usd,
    rfc3339,
    usd_from_nano,
)

COUNTS = [f.name for f in fields(Budget) if f.name != "max_usd"]
NOT_COUNTS = [-1, math.inf, -math.inf, math.nan, True, False, "5", None, 1.5, 10**10, [], {}]
NOT_USD = [-0.01, math.inf, -math.inf, math.nan, True, "free", "", "inf", "NaN", None, 10**7, [], {}, "-1"]
NOT_SECONDS = [0, -1, 0.0, math.inf, -math.inf, math.nan, True, "30", None, 10**10, []]


def refused(field: str, make: Any, *args: Any, **more: Any) -> ValidationError:
    """The ValidationError of a call that must be refused because of `field`."""
    with pytest.raises(ValidationError) as caught:
        make(*args, **more)
    assert caught.value.field == field
    assert caught.value.problem
    assert str(caught.value).startswith(f"{field}: ")
    return caught.value


# budget


def test_budget_defaults_are_the_promised_ones() -> None:
    """Without a budget a task may make 50 model calls, spend 5 dollars and send 100 web requests."""
    budget = Budget()
    assert (budget.max_llm_calls, budget.max_usd, budget.max_web_requests) == (50, 5.0, 100)


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", NOT_COUNTS, ids=repr)
def test_bad_counts_are_refused(key: str, value: Any) -> None:
    """A count that is missing, infinite, negative, no number, a truth value or text is refused by name with a remedy."""
    assert refused(f"budget.{key}", Budget, **{key: value}).remedy
    refused(f"budget.{key}", Budget.of, {key: value})


@pytest.mark.parametrize("value", NOT_USD, ids=repr)
def test_bad_dollars_are_refused(value: Any) -> None:
    """Dollars that are missing, infinite, negative, no number or a truth value are refused by name with a remedy."""
    assert refused("budget.max_usd", Budget, max_usd=value).remedy
    refused("add.max_usd", Budget().plus, {"max_usd": value})


@pytest.mark.parametrize("key", [*COUNTS, "max_usd"])
def test_zero_means_zero(key: str) -> None:
    """0 is a limit like any other: none at all."""
    assert getattr(Budget(**{key: 0}), key) == 0


def test_whole_floats_are_counts() -> None:
    """JSON may write 50 as 50.0; that is still a count."""
    kept = Budget(max_steps=50.0).max_steps
    assert (kept, type(kept)) == (50, int)


@pytest.mark.parametrize("value", [5, 5.0, "5.00", Decimal("5")])
def test_dollars_in_any_form(value: Any) -> None:
    """Dollars may be int, float, text or Decimal and are held in integer nano-dollars."""
    assert Budget(max_usd=value).max_nanousd == 5_000_000_000


def test_unknown_limit_is_refused() -> None:
    """A misspelt limit is refused with the known ones, not ignored."""
    assert "max_llm_calls" in refused("budget.max_calls", Budget.of, {"max_calls": 3}).remedy


@pytest.mark.parametrize("value", [5, "x", [("max_usd", 1)]])
def test_budget_must_be_a_mapping(value: Any) -> None:
    """A budget that is no mapping is refused."""
    refused("budget", Budget.of, value)


def test_budget_base_fills_what_is_left_out() -> None:
    """Limits that a task leaves out come from its task type."""
    base = Budget(max_usd=1, max_llm_calls=7)
    assert Budget.of({"max_usd": 2}, base) == Budget(max_usd=2, max_llm_calls=7)
    assert Budget.of(None, base) == base
    assert Budget.of(base) is base


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_added_dollars_are_exact(first: int, second: int) -> None:
    """Raising max_usd adds nano-dollars exactly; no cent is lost to floating point."""
    if first + second <= 10**15:
        budget = Budget(max_usd=usd_from_nano(first)).plus({"max_usd": usd_from_nano(second)})
        assert budget.max_nanousd == first + second


@given(st.integers(0, 10**15))
def test_nano_dollars_survive_dollars(nano: int) -> None:
    """Every amount up to a million dollars survives the way to dollars and back."""
    assert nano_from_usd(usd_from_nano(nano)) == nano


@given(st.builds(Budget, **{k: st.integers(0, 10**9) for k in COUNTS}, max_usd=st.decimals(0, 10**6, places=9)))
def test_budget_survives_json(budget: Budget) -> None:
    """A budget survives the way through JSON unchanged."""
    assert Budget.of(json.loads(json.dumps(budget.document()))) == budget


def test_plus_adds_only_what_is_named() -> None:
    """Approving more calls leaves every other limit as it was, and the old budget unchanged."""
    budget = Budget()
    more = budget.plus({"max_llm_calls": 10})
    assert (more.max_llm_calls, more.max_usd, budget.max_llm_calls) == (60, 5.0, 50)
    refused("add.max_calls", budget.plus, {"max_calls": 1})


# timeouts


def test_timeouts_defaults_are_the_promised_ones() -> None:
    """tool 30 s, step 120 s, task an hour, idle 5 min, queue a day, approval a week."""
    assert list(Timeouts().document().values()) == [30, 120, 3600, 300, 86400, 604800]


@pytest.mark.parametrize("key", [f.name for f in fields(Timeouts)])
@pytest.mark.parametrize("value", NOT_SECONDS, ids=repr)
def test_bad_timeouts_are_refused(key: str, value: Any) -> None:
    """A timeout that is missing, zero, negative, infinite or no number is refused by name with a remedy."""
    assert refused(f"timeouts.{key}", Timeouts, **{key: value}).remedy


def test_timeouts_from_a_mapping() -> None:
    """Timeouts left out come from the base; an unknown one is refused."""
    base = Timeouts(step_s=5)
    assert Timeouts.of({"tool_s": 1}, base) == Timeouts(tool_s=1, step_s=5)
    refused("timeouts.step", Timeouts.of, {"step": 3})
    refused("timeouts", Timeouts.of, 3)


@given(st.floats(1e-6, 3e8))
def test_timeouts_survive_json(seconds: float) -> None:
    """Timeouts survive the way through JSON unchanged."""
    timeouts = Timeouts(step_s=seconds)
    assert Timeouts.of(json.loads(json.dumps(timeouts.document()))) == timeouts


# task


def test_the_article_s_task() -> None:
    """The task of the README is accepted as written."""
    task = AutoGPTTask(
        goal="Research competitors and prepare a report",
        budget={"max_llm_calls": 50, "max_usd": 5.00, "max_web_requests": 100},
        on_budget_exceeded="checkpoint_and_pause",
        timeouts={"tool_s": 30, "step_s": 120, "task_s": 3600},
    )
    assert (task.agent, Budget.of(task.budget)) == ("autogpt", Budget())


BAD_FIELDS: list[tuple[str, Any]] = [
    ("goal", ""),
    ("goal", "  \n"),
    ("goal", None),
    ("goal", 5),
    ("goal", "x" * 100_001),
    ("goal", "nul\0"),
    ("goal", "lone \ud800"),
    ("agent", "no spaces"),
    ("agent", ""),
    ("agent", None),
    ("task_type", "../../etc"),
    ("tenant", "x" * 129),
    ("user", ""),
    ("user", 7),
    ("model", ""),
    ("idempotency_key", " "),
    ("input", math.inf),
    ("input", {1, 2}),
    ("input", "x" * 1_000_001),
    ("files", ["a"]),
    ("metadata", "x"),
    ("tags", "one"),
    ("prohibited", "web_fetch"),
    ("result_schema", "object"),
    ("start_at", datetime(2030, 1, 1)),
    ("start_at", "tomorrow"),
    ("priority", 1001),
    ("priority", True),
    ("priority", 1.5),
    ("max_attempts", 0),
    ("max_attempts", 101),
    ("max_attempts", math.nan),
    ("on_budget_exceeded", "carry_on"),
    ("budget", 5),
    ("timeouts", "long"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda v: repr(v)[:30])
def test_bad_fields_are_refused_by_name(field: str, value: Any) -> None:
    """Every field of a task that is not acceptable is refused with its name."""
    refused(field, Task, **{"goal": "x", field: value})


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("metadata.k", {"metadata": {"k": 5}}),
        ("metadata key", {"metadata": {5: "v"}}),
        ("files.a", {"files": {"a": None}}),
        ("tags[1]", {"tags": ["a", 5]}),
        ("budget.max_usd", {"budget": {"max_usd": math.inf}}),
        ("timeouts.step_s", {"timeouts": {"step_s": 0}}),
    ],
)
def test_bad_parts_are_refused_by_name(field: str, more: dict[str, Any]) -> None:
    """A bad part inside a field is named with its place."""
    refused(field, Task, goal="x", **more)


def test_tasks_are_frozen() -> None:
    """A task does not change after it was checked."""
    task = Task(goal="x")
    with pytest.raises(FrozenInstanceError):
        task.goal = "y"  # type: ignore[misc]


def test_result_schema_from_a_model() -> None:
    """result_schema may be a pydantic model class; its JSON Schema is kept."""

    class Report(BaseModel):
        title: str

    assert Task(goal="x", result_schema=Report).result_schema["required"] == ["title"]


def test_a_budget_mapping_is_copied() -> None:
    """Changing the mapping afterwards does not change the task."""
    limits = {"max_usd": 1}
    task = Task(goal="x", budget=limits)
    limits["max_usd"] = 1000
    assert Budget.of(task.budget).max_usd == 1


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,20}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50).filter(str.strip)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
tasks = st.builds(
    Task,
    goal=texts,
    agent=names,
    budget=st.none() | st.fixed_dictionaries({"max_llm_calls": st.integers(0, 99)}),
    timeouts=st.none() | st.fixed_dictionaries({"step_s": st.floats(0.1, 99)}),
    task_type=names,
    input=json_values,
    user=st.none() | texts,
    tags=st.lists(texts, max_size=3),
    metadata=st.dictionaries(texts, texts, max_size=3),
    priority=st.integers(-1000, 1000),
    start_at=st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    max_attempts=st.integers(1, 100),
    prohibited=st.lists(texts, max_size=3),
)


@given(tasks)
def test_task_survives_json(task: Task) -> None:
    """A task survives the way through its JSON document, as REST and the CLI send it."""
    assert Task.of(json.loads(json.dumps(task.document()))).document() == task.document()


def test_document_leaves_out_defaults() -> None:
    """A document carries only what differs from the defaults."""
    assert Task(goal="x").document() == {"goal": "x"}


def test_start_at_is_sent_in_utc() -> None:
    """A start time of any zone is sent as UTC and read back as the same moment."""
    at = datetime(2030, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    document = Task(goal="x", start_at=at).document()
    assert document["start_at"] == "2030-05-01T10:00:00Z"
    assert Task.of(document).start_at == at


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("goal", {}),
        ("task.gaol", {"gaol": "x"}),
        ("start_at", {"goal": "x", "start_at": "soon"}),
        ("task", None),
        ("task", ["goal"]),
        ("budget", {"goal": "x", "budget": []}),
    ],
)
def test_bad_documents_are_refused(field: str, document: Any) -> None:
    """A document without goal, with unknown fields or of another shape is refused with the field's name."""
    refused(field, Task.of, document)


# documents of a stored task


def test_usage_shows_dollars() -> None:
    """Spend is shown in dollars with at most nine decimals; holds are not spend."""
    shown = Usage(nanousd=1_234_567_891, held_nanousd=5, llm_calls=2).document()
    assert (shown["usd"], shown["llm_calls"], "held_nanousd" in shown) == (1.234567891, 2, False)


@pytest.mark.parametrize(
    ("at_ms", "text"), [(None, None), (0, "1970-01-01T00:00:00.000Z"), (1_700_000_000_123, "2023-11-14T22:13:20.123Z")]
)
def test_times_are_rfc3339(at_ms: int | None, text: str | None) -> None:
    """Times are shown as RFC 3339 in UTC with milliseconds."""
    assert rfc3339(at_ms) == text


@pytest.mark.parametrize(
    ("field", "more"), [("decision", {"decision": "yes"}), ("add.max_usd", {"decision": "approve", "add": {"max_usd": -1}})]
)
def test_bad_answers_are_refused(field: str, more: dict[str, Any]) -> None:
    """A decision outside the closed list, or with a bad amount, is refused."""
    refused(field, Answer, **more)


def stored(**more: Any) -> TaskDocument:
    """A stored task with plausible values."""
    attempt = Attempt(number=1, state="paused", reason="budget", worker="w1", isolation={"files": "enforced"}, started_at_ms=5)
    approval = Approval(id="appr_1", task_id="task_1", kind="budget", question="More?", state="open", details={"used": 5})
    values: dict[str, Any] = {
        "id": "task_1", "state": "paused", "reason": "budget", "message": "It waits.", "agent": "autogpt", "agent_version": None,
        "task_type": "default", "goal": "x", "input": None, "tags": ("a",), "metadata": {"k": "v"}, "user": None,
        "tenant": "default", "priority": 0, "budget": Budget(), "usage": Usage(), "timeouts": Timeouts(), "attempts": (attempt,),
        "progress": {}, "partial": {"found": 3}, "result": None, "artifacts": ({"name": "a.txt"},), "approval": approval,
        "actions": ("approve",), "created_at_ms": 1, "updated_at_ms": 2, "ended_at_ms": None,
    }  # fmt: skip
    return TaskDocument(**{**values, **more})


def test_task_document_is_the_public_contract() -> None:
    """The JSON of a task has exactly the documented keys and is plain JSON."""
    document = json.loads(json.dumps(stored().document()))
    assert sorted(document) == sorted(
        (
            "id state reason message agent agent_version task_type goal input tags metadata user tenant priority budget usage "
            "timeouts attempts progress partial result artifacts approval actions created_at updated_at ended_at"
        ).split()
    )
    assert sorted(document["usage"]) == sorted("llm_calls usd tokens web_requests web_counting tool_calls steps".split())
    assert {"number", "state", "reason", "worker", "isolation", "started_at", "ended_at"} <= set(document["attempts"][0])
    assert document["approval"]["details"] == {"used": 5}
    assert document["ended_at"] is None
