"""Decisions, actions and holds as they are asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tether.web.schemas.documents import Document
from tether.web.schemas.tasks import WHOLE, BudgetIn, In, Name

__all__ = ["ActionIn", "DecisionIn", "Document", "HoldIn", "LinkIn", "LinkUse"]

By = Annotated[str, Field(max_length=200, description="who decides, for the journal")]
Text = Annotated[str, Field(max_length=100_000)]
Note = Annotated[str, Field(max_length=2000)]


class ActionIn(In):
    """Why, and who asks; both may be left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "the customer called", "by": "alice"}]})

    note: Note = ""
    by: By = ""


class DecisionIn(In):
    """A decision. add: budget on top of the limits; text: the answer to a question."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"decision": "approve", "add": {"max_usd": 5}, "comment": "go on"}]}
    )

    decision: Literal["approve", "reject", "edit", "answer"]
    add: BudgetIn = BudgetIn()
    text: Text = ""
    comment: Note = ""
    by: By = ""


class HoldIn(In):
    """Stops claims or calls of whatever matches all given fields."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"agent": "autogpt", "stop": "claims", "note": "a bad release"}]}
    )

    stop: Literal["claims", "calls"]
    agent: Name | None = None
    task_type: Name | None = None
    model: Annotated[str | None, Field(max_length=200)] = None
    tenant: Name | None = None
    note: Note = ""
    by: By = ""


class LinkIn(In):
    """A link for an end user. actions: what it allows; most: budget it may add in all, on top of what the task has now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"actions": ["approve", "cancel"], "most": {"max_usd": 5}, "expires_s": 86400}]},
    )

    actions: Annotated[
        list[Literal["answer", "approve", "reject", "retry", "cancel", "escalate"]], Field(min_length=1, max_length=6)
    ]
    most: BudgetIn = BudgetIn()
    expires_s: Annotated[int, Field(ge=60, le=30 * 86400, description="seconds it is good for"), WHOLE] = 604_800
    by: By = ""


class LinkUse(In):
    """What the holder of a link wants."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"action": "answer", "text": "the blue one"}]})

    action: Literal["answer", "approve", "reject", "retry", "cancel", "escalate"]
    add: BudgetIn = BudgetIn()
    text: Text = ""
    comment: Note = ""
