"""What a user submits and what they get back: Task, Budget, Timeouts, and the documents of a stored task.

Everything here is frozen and checks itself when made, so nothing further in ever sees a bad limit.
Money is held in integer nano-dollars (1 USD = 1_000_000_000) and shown in dollars.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from tether.errors import ValidationError

__all__ = [
    "NANO",
    "ON_BUDGET_EXCEEDED",
    "Answer",
    "Approval",
    "ApprovalKind",
    "Attempt",
    "AutoGPTTask",
    "Budget",
    "Task",
    "TaskDocument",
    "Timeouts",
    "Usage",
    "nano_from_usd",
    "rfc3339",
    "usd_from_nano",
]

NANO = 1_000_000_000
_MAX_COUNT = 10**9
_MAX_USD = 10**6
_MAX_SECONDS = 10 * 365 * 86400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}\Z")
ON_BUDGET_EXCEEDED = ("checkpoint_and_pause", "wrap_up", "terminate")
_MAX_GOAL_CHARS = 100_000
_MAX_JSON_BYTES = 1_000_000


def nano_from_usd(value: Any, field_name: str = "max_usd") -> int:
    """Nano-dollars of a dollar amount (int, float, Decimal or numeric string); at most 9 decimals are kept.

    Raises ValidationError naming `field_name` for anything that is not a finite amount from 0 to 1,000,000.
    """
    remedy = f"write dollars from 0 to {_MAX_USD:,}, for example 5.00"
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValidationError(field_name, f"is a {type(value).__name__}, not an amount", remedy)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValidationError(field_name, f"{value!r} is not a number", remedy) from None
    if not amount.is_finite():
        raise ValidationError(field_name, "must be finite", remedy)
    if amount < 0:
        raise ValidationError(field_name, "must not be negative", remedy)
    if amount > _MAX_USD:
        raise ValidationError(field_name, f"{value} is too large", remedy)
    return int((amount * NANO).to_integral_value())


def usd_from_nano(nano: int) -> float:
    """Dollars of a nano-dollar amount, exact to 9 decimals."""
    return round(nano / NANO, 9)


def rfc3339(at_ms: int | None) -> str | None:
    """RFC 3339 UTC text of a Unix time in milliseconds."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _count(value: Any, name: str) -> int:
    remedy = f"write a whole number from 0 to {_MAX_COUNT:,}"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(name, "must be finite; there is no unlimited", remedy)
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise ValidationError(name, f"{value!r} is not a whole number", remedy)
    if value < 0:
        raise ValidationError(name, "must not be negative", remedy)
    if value > _MAX_COUNT:
        raise ValidationError(name, f"{value} is too large", remedy)
    return int(value)


def _seconds(value: Any, name: str) -> float:
    remedy = "write seconds greater than 0, at most ten years"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError(name, f"{value!r} is not a number of seconds", remedy)
    if not math.isfinite(value):
        raise ValidationError(name, "must be finite; there is no unlimited", remedy)
    if value <= 0:
        raise ValidationError(name, "must be greater than 0", remedy)
    if value > _MAX_SECONDS:
        raise ValidationError(name, f"{value} is too large", remedy)
    return float(value)


def _known_keys(kind: type, value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValidationError(name, f"is a {type(value).__name__}, not a mapping", f"write {name}={{...}}")
    known = {f.name for f in fields(kind)}
    for key in cast("Mapping[Any, Any]", value):
        if key not in known:
            raise ValidationError(f"{name}.{key}", "is not a known key", f"known are {', '.join(sorted(known))}")
    return dict(cast("Mapping[str, Any]", value))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a task may spend; every limit is finite and 0 means none at all.

    max_llm_calls, max_web_requests, max_tool_calls, max_steps: counts; max_tokens: input plus output tokens;
    max_usd: dollars (int, float, Decimal or text), held as `max_nanousd`.
    """

    max_llm_calls: int = 50
    max_usd: float = 5.0
    max_web_requests: int = 100
    max_tokens: int = 10_000_000
    max_steps: int = 1_000
    max_tool_calls: int = 1_000

    def __post_init__(self) -> None:
        for f in fields(self):
            name = f"budget.{f.name}"
            if f.name == "max_usd":
                value: int | float = usd_from_nano(nano_from_usd(self.max_usd, name))
            else:
                value = _count(getattr(self, f.name), name)
            object.__setattr__(self, f.name, value)

    @property
    def max_nanousd(self) -> int:
        """max_usd in nano-dollars."""
        return nano_from_usd(self.max_usd)

    @classmethod
    def of(cls, value: Budget | Mapping[str, Any] | None, base: Budget | None = None) -> Budget:
        """A budget from a mapping, with `base` (or the defaults) for the keys it leaves out."""
        if isinstance(value, Budget):
            return value
        given = {} if value is None else _known_keys(cls, value, "budget")
        return replace(base or cls(), **given)

    def plus(self, add: Mapping[str, Any]) -> Budget:
        """This budget with the amounts of `add` (same keys) added."""
        given = _known_keys(Budget, add, "add")
        extra = {
            key: nano_from_usd(value, f"add.{key}") if key == "max_usd" else _count(value, f"add.{key}")
            for key, value in given.items()
        }
        raised = {
            key: usd_from_nano(self.max_nanousd + n) if key == "max_usd" else getattr(self, key) + n for key, n in extra.items()
        }
        return replace(self, **raised)

    def document(self) -> dict[str, Any]:
        """The budget as JSON: the same keys, max_usd in dollars."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long things may take, in seconds; all finite and greater than 0.

    tool_s: one tool call; step_s: one think/act cycle; task_s: active time of the task over all attempts;
    idle_s: no sign of life from the agent; queue_s: waiting for a worker; approval_s: waiting for a human.
    """

    tool_s: float = 30.0
    step_s: float = 120.0
    task_s: float = 3600.0
    idle_s: float = 300.0
    queue_s: float = 86400.0
    approval_s: float = 604800.0

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _seconds(getattr(self, f.name), f"timeouts.{f.name}"))

    @classmethod
    def of(cls, value: Timeouts | Mapping[str, Any] | None, base: Timeouts | None = None) -> Timeouts:
        """Timeouts from a mapping, with `base` (or the defaults) for the keys it leaves out."""
        if isinstance(value, Timeouts):
            return value
        given = {} if value is None else _known_keys(cls, value, "timeouts")
        return replace(base or cls(), **given)

    def document(self) -> dict[str, Any]:
        """The timeouts as JSON, in seconds."""
        return asdict(self)


def _text(value: Any, name: str, *, most: int = 1000, allow_empty: bool = True) -> str:
    if not isinstance(value, str):
        raise ValidationError(name, f"is a {type(value).__name__}, not text", f'write {name}="…"')
    if not allow_empty and not value.strip():
        raise ValidationError(name, "is empty", "say what is wanted")
    if len(value) > most:
        raise ValidationError(name, f"has {len(value):,} characters", f"at most {most:,} are taken")
    if "\0" in value:
        raise ValidationError(name, "contains a NUL character", "remove it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(name, "contains a lone surrogate", "send valid Unicode") from None
    return value


def _slug(value: Any, name: str) -> str:
    text = _text(value, name, most=128)
    if not _NAME.match(text):
        raise ValidationError(name, f"{text!r} is not a name", "use letters, digits and . _ : / @ -, at most 128")
    return text


def _json(value: Any, name: str) -> Any:
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(name, f"is not JSON ({error})", "use strings, finite numbers, lists and maps") from None
    if size > _MAX_JSON_BYTES:
        raise ValidationError(name, f"is {size:,} bytes of JSON", f"at most {_MAX_JSON_BYTES:,}; send a file instead")
    return value


def _string_map(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValidationError(name, f"is a {type(value).__name__}, not a mapping", f'write {name}={{"key": "text"}}')
    items = cast("Mapping[Any, Any]", value).items()
    return {_text(k, f"{name} key", most=128): _text(v, f"{name}.{k}", most=2000) for k, v in items}


def _strings(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise ValidationError(name, f"is a {type(value).__name__}, not a list", f'write {name}=["…"]')
    return tuple(_text(item, f"{name}[{i}]", most=200) for i, item in enumerate(cast("list[Any]", value)))


def _schema(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if hasattr(value, "model_json_schema"):
        value = value.model_json_schema()
    if not isinstance(value, Mapping):
        raise ValidationError("result_schema", "is neither a JSON Schema nor a pydantic model", 'e.g. {"type": "object"}')
    return _json(dict(cast("Mapping[str, Any]", value)), "result_schema")


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_RESERVED = re.compile(
    r"(?i)(?:TETHER_|LD_|PYTHON|OPENAI_|ANTHROPIC_|(?:HTTPS?|NO|ALL)_PROXY\Z|(?:PATH|HOME|LANG|TZ|SHELL|IFS|ENV)\Z)"
)
_MOST_SECRETS = 50
_SHORTEST_SECRET = 6


def _secrets(value: Any) -> dict[str, str]:
    given = _string_map(value, "secrets") if not isinstance(value, Mapping) else dict(cast("Mapping[Any, Any]", value))
    if len(given) > _MOST_SECRETS:
        raise ValidationError("secrets", f"has {len(given)} entries", f"at most {_MOST_SECRETS} are taken")
    for name, secret in given.items():
        if not isinstance(name, str) or not _VARIABLE.match(name) or _RESERVED.match(name):
            raise ValidationError(
                "secrets", f"{name!r} cannot be used as a variable", "use letters, digits and _, no reserved name"
            )
        if len(_text(secret, f"secrets.{name}", most=16_000)) < _SHORTEST_SECRET:
            raise ValidationError(f"secrets.{name}", "is too short to be masked", f"use at least {_SHORTEST_SECRET} characters")
    return given


@dataclass(frozen=True, kw_only=True)
class Task:
    """A goal for an agent, with its budget and timeouts; immutable and checked when made.

    agent: a name of `[agents.…]`. budget, timeouts: objects or mappings; keys left out take the task type's value or the default.
    on_budget_exceeded: "checkpoint_and_pause" | "wrap_up" | "terminate". input: any JSON. files: {name in workspace: local path}.
    result_schema: a JSON Schema or a pydantic model class. priority: higher first. start_at: datetime with a zone, or None.
    max_attempts: attempts that may fail before the task does. prohibited: tools and hosts the agent must not use.
    model: overrides the agent's configured model. secrets: {variable of the attempt's environment: value}; write-only: stored
    encrypted, shown nowhere, erased when the task ends. Raises ValidationError naming the field.
    """

    goal: str
    agent: str = "autogpt"
    budget: Budget | Mapping[str, Any] | None = None
    timeouts: Timeouts | Mapping[str, Any] | None = None
    on_budget_exceeded: str = "checkpoint_and_pause"
    task_type: str = "default"
    input: Any = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None
    tenant: str = "default"
    result_schema: Any = None
    tags: tuple[str, ...] | list[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    priority: int = 0
    start_at: datetime | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    webhook_url: str | None = None
    prohibited: tuple[str, ...] | list[str] = ()
    model: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "goal", _text(self.goal, "goal", most=_MAX_GOAL_CHARS, allow_empty=False))
        put(self, "agent", _slug(self.agent, "agent"))
        put(self, "task_type", _slug(self.task_type, "task_type"))
        put(self, "tenant", _slug(self.tenant, "tenant"))
        for name in ("user", "idempotency_key", "model", "webhook_url"):
            if getattr(self, name) is not None:
                put(self, name, _text(getattr(self, name), name, most=2000, allow_empty=False))
        self._check_limits()
        put(self, "input", _json(self.input, "input"))
        put(self, "files", _string_map(self.files, "files"))
        put(self, "metadata", _string_map(self.metadata, "metadata"))
        put(self, "tags", _strings(self.tags, "tags"))
        put(self, "prohibited", _strings(self.prohibited, "prohibited"))
        put(self, "result_schema", _schema(self.result_schema))
        put(self, "secrets", _secrets(self.secrets))
        if self.start_at is not None and (not isinstance(self.start_at, datetime) or self.start_at.tzinfo is None):
            raise ValidationError("start_at", "has no time zone", "use datetime(…, tzinfo=UTC)")

    def _check_limits(self) -> None:
        for name, kind in (("budget", Budget), ("timeouts", Timeouts)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                kind.of(value)
                object.__setattr__(self, name, dict(value))
        if self.on_budget_exceeded not in ON_BUDGET_EXCEEDED:
            raise ValidationError(
                "on_budget_exceeded", f"{self.on_budget_exceeded!r} is unknown", f"use one of {', '.join(ON_BUDGET_EXCEEDED)}"
            )
        if isinstance(self.priority, bool) or not isinstance(self.priority, int) or not -1000 <= self.priority <= 1000:
            raise ValidationError("priority", f"{self.priority!r} is not a priority", "use a whole number from -1000 to 1000")
        attempts = _count(self.max_attempts, "max_attempts")
        if not 1 <= attempts <= 100:
            raise ValidationError("max_attempts", f"{attempts} is out of range", "use 1 to 100")

    def document(self) -> dict[str, Any]:
        """The task as it is sent over REST, without its secrets; `of` takes it back."""
        out: dict[str, Any] = {}
        for f in fields(self):
            if f.name == "secrets":
                continue
            value = getattr(self, f.name)
            if isinstance(value, Budget | Timeouts):
                value = value.document()
            elif isinstance(value, datetime):
                value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            elif isinstance(value, tuple):
                value = list(cast("tuple[Any, ...]", value))
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if value != default and not (value == [] and default == ()):
                out[f.name] = value
        return out

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Task:
        """A task from a JSON document; raises ValidationError for unknown or missing fields."""
        given = _known_keys(Task, document, "task")
        if "goal" not in given:
            raise ValidationError("goal", "is missing", "say what is wanted")
        if isinstance(given.get("start_at"), str):
            try:
                given["start_at"] = datetime.fromisoformat(given["start_at"])
            except ValueError:
                raise ValidationError("start_at", f"{given['start_at']!r} is not a time", "use RFC 3339") from None
        return Task(**given)


class AutoGPTTask(Task):
    """A task for the built-in agent `autogpt`."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a task spent so far; nanousd in nano-dollars, tokens input plus output; web_counting: exact | connections."""

    llm_calls: int = 0
    nanousd: int = 0
    held_nanousd: int = 0
    tokens: int = 0
    web_requests: int = 0
    tool_calls: int = 0
    steps: int = 0
    web_counting: str = "exact"

    def document(self) -> dict[str, Any]:
        """The usage as JSON; usd in dollars."""
        return {
            "llm_calls": self.llm_calls,
            "usd": usd_from_nano(self.nanousd),
            "tokens": self.tokens,
            "web_requests": self.web_requests,
            "web_counting": self.web_counting,
            "tool_calls": self.tool_calls,
            "steps": self.steps,
        }


class ApprovalKind:
    """What a human is asked: budget, question, approval (replay, version change), stuck, escalated."""

    BUDGET = "budget"
    QUESTION = "question"
    APPROVAL = "approval"
    STUCK = "stuck"
    ESCALATED = "escalated"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A question to a human. kind: see ApprovalKind; key: the agent's own; details: what was spent, done, asked."""

    id: str
    task_id: str
    kind: str
    question: str
    state: str  # open approved rejected answered expired
    details: Mapping[str, Any]
    key: str | None = None
    decision: Mapping[str, Any] | None = None
    created_at_ms: int = 0
    expires_at_ms: int | None = None
    decided_at_ms: int | None = None
    decided_by: str | None = None

    def document(self) -> dict[str, Any]:
        """The approval as JSON."""
        return {
            "id": self.id,
            "task_id": self.task_id,
            "kind": self.kind,
            "question": self.question,
            "state": self.state,
            "details": dict(self.details),
            "decision": None if self.decision is None else dict(self.decision),
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
            "decided_at": rfc3339(self.decided_at_ms),
            "decided_by": self.decided_by,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A decision on an approval: approve | reject | edit | answer; add: budget amounts to add; text: the answer; by: who."""

    decision: str
    add: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""
    comment: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.decision not in ("approve", "reject", "edit", "answer"):
            raise ValidationError("decision", f"{self.decision!r} is unknown", "use approve, reject, edit or answer")
        _text(self.text, "text", most=_MAX_GOAL_CHARS)
        _text(self.comment, "comment", most=2000)
        Budget().plus(self.add)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One leased execution. state: running succeeded failed paused cancelled; isolation: wall -> enforced | cooperative."""

    number: int
    state: str
    reason: str | None
    worker: str
    isolation: Mapping[str, str]
    started_at_ms: int
    ended_at_ms: int | None = None
    message: str | None = None

    def document(self) -> dict[str, Any]:
        """The attempt as JSON."""
        return {
            "number": self.number,
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "worker": self.worker,
            "isolation": dict(self.isolation),
            "started_at": rfc3339(self.started_at_ms),
            "ended_at": rfc3339(self.ended_at_ms),
        }


@dataclass(frozen=True, kw_only=True)
class TaskDocument:
    """A stored task as users see it, in Python, `--json`, REST and webhooks alike (`document()`)."""

    id: str
    state: str
    reason: str | None
    message: str
    agent: str
    agent_version: str | None
    task_type: str
    goal: str
    input: Any
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    user: str | None
    tenant: str
    priority: int
    budget: Budget
    usage: Usage
    timeouts: Timeouts
    attempts: tuple[Attempt, ...]
    progress: Mapping[str, Any]
    partial: Any
    result: Any
    artifacts: tuple[Mapping[str, Any], ...]
    approval: Approval | None
    actions: tuple[str, ...]
    created_at_ms: int
    updated_at_ms: int
    ended_at_ms: int | None

    def document(self) -> dict[str, Any]:
        """The task as JSON, exactly the public contract."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_at_ms"):
                out[f.name.removesuffix("_ms")] = rfc3339(value)
            elif isinstance(value, Budget | Timeouts | Usage | Approval):
                out[f.name] = value.document()
            elif f.name == "attempts":
                out[f.name] = [a.document() for a in self.attempts]
            elif f.name in ("tags", "actions"):
                out[f.name] = list(value)
            elif f.name == "artifacts":
                out[f.name] = [dict(a) for a in self.artifacts]
            elif isinstance(value, Mapping):
                out[f.name] = dict(cast("Mapping[str, Any]", value))
            else:
                out[f.name] = value
        return out
