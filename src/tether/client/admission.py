"""What a task becomes when it is submitted: limits merged and checked, names resolved, warnings for the operator. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tether.errors import ConfigurationError, ValidationError
from tether.task import AutoGPTTask, Budget, Task, Timeouts

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["Admission", "admit"]


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A task with its final budget and timeouts, the configured agent version, and what the operator should know."""

    task: Task
    budget: Budget
    timeouts: Timeouts
    agent_version: str | None
    warnings: tuple[str, ...]


def admit(task: Task, settings: Settings, served: Iterable[str]) -> Admission:
    """Check `task` against the configuration; `served` are the agents that live workers serve.

    Task wins over task type, task type over the defaults. Raises ValidationError naming the field: over a ceiling,
    unknown agent, model or tool.
    """
    task = _with_type_agent(task, settings)
    agent = _agent(task, settings)
    _check_model(task, settings)
    _check_prohibited(task, settings)
    served = set(served)
    warnings = () if task.agent in served else (f"no worker serves the agent {task.agent!r} now; start one with `tether worker`",)
    return Admission(
        task=task,
        budget=settings.budget_for(task.task_type, task.budget),
        timeouts=settings.timeouts_for(task.task_type, task.timeouts),
        agent_version=agent.version or None,
        warnings=warnings,
    )


def _with_type_agent(task: Task, settings: Settings) -> Task:
    kind = settings.task_types.get(task.task_type)
    named = isinstance(task, AutoGPTTask) or task.agent != "autogpt"
    return task if kind is None or not kind.agent or named else replace(task, agent=kind.agent)


def _agent(task: Task, settings: Settings):
    try:
        return settings.agent(task.agent)
    except ConfigurationError as error:
        raise ValidationError(error.field, error.problem, error.remedy) from None


def _check_model(task: Task, settings: Settings) -> None:
    """A section's name, a model it names, or any name where a section passes names on; without sections the worker decides."""
    models = settings.models
    if task.model is None or not models or task.model in models:
        return
    if any(not model.model or model.model == task.model for model in models.values()):
        return
    known = ", ".join(sorted(models))
    raise ValidationError("model", f"{task.model!r} is not configured", f"known are {known}; add [models.{task.model}]")


def _check_prohibited(task: Task, settings: Settings) -> None:
    """A prohibited name without a dot must be a tool, else a typing error would allow what it should forbid."""
    if not task.prohibited:
        return
    known = settings.tool_names()
    for name in task.prohibited:
        if "." not in name and ":" not in name and name != "localhost" and name not in known:
            raise ValidationError("prohibited", f"{name!r} is neither a tool nor a host", f"known tools are {', '.join(known)}")
