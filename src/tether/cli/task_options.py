"""The options that describe a task, shared by `run` and `submit`, and the task they make."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from tether.errors import ValidationError
from tether.task import AutoGPTTask, Task

__all__ = ["TaskOptions", "pairs", "takes_some_task_options", "takes_task_options"]

_BUDGET = ("max_usd", "max_llm_calls", "max_web_requests", "max_tokens", "max_tool_calls", "max_steps")
_TIMEOUTS = ("tool_s", "step_s", "task_s", "idle_s", "queue_s", "approval_s")


def _option(name: str, metavar: str, help: str) -> Any:
    return typer.Option(name, help=help, metavar=metavar, show_default=False)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What `run` and `submit` take besides the goal; a field is an option, None means not given."""

    agent: Annotated[str | None, _option("--agent", "NAME", "Agent of [agents.…]; else the task type's, else autogpt.")] = None
    model: Annotated[str | None, _option("--model", "NAME", "Model of [models.…], or a model's name at the server in use.")] = (
        None
    )
    max_usd: Annotated[str | None, _option("--max-usd", "USD", "Dollars it may spend (default 5).")] = None
    max_llm_calls: Annotated[int | None, _option("--max-llm-calls", "N", "Model calls (default 50).")] = None
    max_web_requests: Annotated[int | None, _option("--max-web-requests", "N", "Web requests (default 100).")] = None
    max_tokens: Annotated[int | None, _option("--max-tokens", "N", "Input and output tokens together.")] = None
    max_tool_calls: Annotated[int | None, _option("--max-tool-calls", "N", "Tool calls.")] = None
    max_steps: Annotated[int | None, _option("--max-steps", "N", "Think/act cycles.")] = None
    tool_s: Annotated[float | None, _option("--tool-s", "S", "Seconds for one tool call (default 30).")] = None
    step_s: Annotated[float | None, _option("--step-s", "S", "Seconds for one step (default 120).")] = None
    task_s: Annotated[float | None, _option("--task-s", "S", "Active seconds for the task (default 3600).")] = None
    idle_s: Annotated[float | None, _option("--idle-s", "S", "Seconds without a sign of life (default 300).")] = None
    queue_s: Annotated[float | None, _option("--queue-s", "S", "Seconds it may wait for a worker.")] = None
    approval_s: Annotated[float | None, _option("--approval-s", "S", "Seconds it may wait for a human.")] = None
    on_budget_exceeded: Annotated[
        str | None,
        _option("--on-budget-exceeded", "WHAT", "checkpoint_and_pause (default), wrap_up or terminate."),
    ] = None
    max_attempts: Annotated[int | None, _option("--max-attempts", "N", "Attempts that may fail before the task does.")] = None
    schema: Annotated[str | None, _option("--schema", "FILE", "JSON Schema the result must match.")] = None
    input: Annotated[str | None, _option("--input", "JSON", "Input for the agent: JSON, or @FILE.")] = None
    task_type: Annotated[str | None, _option("--task-type", "NAME", "Kind of task, of [task_types.…] or any name.")] = None
    file: Annotated[list[str] | None, _option("--file", "NAME=PATH", "Put a file into the workspace.")] = None
    tag: Annotated[list[str] | None, _option("--tag", "TAG", "Tag it (repeatable).")] = None
    metadata: Annotated[list[str] | None, _option("--metadata", "KEY=TEXT", "Text that comes back with it.")] = None
    prohibit: Annotated[list[str] | None, _option("--prohibit", "NAME", "A tool or host it must not use.")] = None
    user: Annotated[str | None, _option("--user", "NAME", "For whom.")] = None
    priority: Annotated[int | None, _option("--priority", "N", "Higher first (default 0).")] = None
    idempotency_key: Annotated[str | None, _option("--idempotency-key", "KEY", "The same key gives the same task.")] = None

    def document(self, goal: str) -> dict[str, Any]:
        """The task as a JSON document with only what was given."""
        direct = ("agent", "model", "on_budget_exceeded", "max_attempts", "task_type", "user", "priority", "idempotency_key")
        out: dict[str, Any] = {"goal": goal} | {k: getattr(self, k) for k in direct if getattr(self, k) is not None}
        out |= _given("budget", self, _BUDGET) | _given("timeouts", self, _TIMEOUTS)
        if self.schema is not None:
            out["result_schema"] = _json_file("--schema", self.schema)
        if self.input is not None:
            out["input"] = _json_file("--input", self.input[1:]) if self.input.startswith("@") else _json("--input", self.input)
        for name, value in (("tags", self.tag), ("prohibited", self.prohibit)):
            if value:
                out[name] = value
        for name, option, given in (("files", "--file", self.file), ("metadata", "--metadata", self.metadata)):
            if given:
                out[name] = pairs(option, given)
        return out

    def task(self, goal: str, base: Mapping[str, Any] | None = None) -> Task:
        """The task; what is given here wins over `base`, a task document. Raises ValidationError naming the field."""
        given = self.document(goal)
        merged = dict(base or {}) | given
        for name in ("budget", "timeouts"):
            if name in given and base and isinstance(base.get(name), Mapping):
                merged[name] = {**base[name], **given[name]}
        task = Task.of(merged)
        explicit = merged.get("agent") == "autogpt"
        return AutoGPTTask(**{f.name: getattr(task, f.name) for f in fields(task)}) if explicit else task


def _given(name: str, options: TaskOptions, keys: tuple[str, ...]) -> dict[str, Any]:
    found = {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    return {name: found} if found else {}


def pairs(option: str, given: list[str]) -> dict[str, str]:
    """A mapping from NAME=VALUE words; raises ValidationError naming the option."""
    for word in given:
        if not word.partition("=")[0] or "=" not in word:
            raise ValidationError(option, f"{word!r} is not NAME=VALUE", f"write {option} name=value")
    return {name: value for name, _, value in (word.partition("=") for word in given)}


def _json(option: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValidationError(option, f"is not JSON ({error})", 'write for example \'{"key": "value"}\', or @FILE') from None


def _json_file(option: str, name: str) -> Any:
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ValidationError(option, f"{name!r} cannot be read ({error.strerror})", "check the path") from None
    except UnicodeDecodeError:
        raise ValidationError(option, f"{name!r} is not UTF-8 text", "save it as UTF-8") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValidationError(option, f"{name!r} is not JSON ({error})", "mend the file") from None


def takes_task_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` one option per field of TaskOptions; it receives them as `options`."""
    return _with_options(command, [f.name for f in fields(TaskOptions)])


def takes_some_task_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these names only."""
    return lambda command: _with_options(command, names)


def _with_options(command: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    chosen = [f for f in fields(TaskOptions) if f.name in names]
    own = [p for name, p in inspect.signature(command, eval_str=True).parameters.items() if name != "options"]
    hints = get_type_hints(TaskOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=None if f.default is MISSING else f.default, annotation=hints[f.name]
        )
        for f in chosen
    ]

    @functools.wraps(command)
    def with_options(*given: Any, **named: Any) -> Any:
        options = TaskOptions(**{f.name: named.pop(f.name) for f in chosen})
        return command(*given, **named, options=options)

    everything = [*own, *shared]
    with_options.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in everything}
    return with_options
