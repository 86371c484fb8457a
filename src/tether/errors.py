"""Every error Tether raises on purpose; the message says what happened and what to do next.

TetherError
├── ValidationError            a field of a task, a request or an argument is not acceptable
│   └── ConfigurationError     tether.toml, the environment or a store URL is not acceptable
├── NotFound                   no task, approval, checkpoint or file of that name
├── Conflict                   the task does not stand where the request needs it to
│   ├── IllegalTransition      a state change the transition table does not have
│   ├── IdempotencyConflict    the same idempotency key with another body
│   └── RevisionConflict       the task was changed since it was read
├── LeaseLost                  the writer no longer holds the task
├── NotAuthorised              no key, a wrong key, or a key without the scope
├── BudgetExceeded             a reservation would pass a limit
├── UnpricedModel              max_usd is set and nobody knows what the model costs
├── TaskFailed                 result() of a task that did not succeed; carries .partial
├── WaitTimeout                wait() gave up before the task got there
├── StoreUnavailable           the store cannot be opened, read or written now
│   ├── StoreTooNew            the store was upgraded by a newer Tether
│   └── ServerUnavailable      the API cannot be reached, or is too busy to answer
├── QueueUnavailable           the broker cannot be reached now; nothing fails, workers find the rows by themselves
├── WorkerError                a worker, zygote or gateway could not be started
└── LinkError                  what an agent said to the supervisor was refused
    ├── AttemptEnding          the supervisor is ending this attempt; the agent should return
    └── ToolFailed             a tool call ended without a result
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AttemptEnding",
    "BudgetExceeded",
    "ConfigurationError",
    "Conflict",
    "IdempotencyConflict",
    "IllegalTransition",
    "LeaseLost",
    "LinkError",
    "NotAuthorised",
    "NotFound",
    "QueueUnavailable",
    "RevisionConflict",
    "ServerUnavailable",
    "StoreTooNew",
    "StoreUnavailable",
    "TaskFailed",
    "TetherError",
    "ToolFailed",
    "UnpricedModel",
    "ValidationError",
    "WaitTimeout",
    "WorkerError",
]


class TetherError(Exception):
    """Root of all errors of Tether; `code` is stable and also stands in REST problems and `--json`."""

    code = "error"


class ValidationError(TetherError):
    """A field is not acceptable: `field` is its dotted name, `problem` what is wrong, `remedy` what to write instead."""

    code = "invalid"

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{field}: {problem}" + (f"; {remedy}" if remedy else ""))


class ConfigurationError(ValidationError):
    """The configuration is not acceptable; `field` names the key, or the file when it cannot be read."""

    code = "invalid_configuration"


class NotFound(TetherError):
    """There is no `what` called `name` (or it belongs to another tenant)."""

    code = "not_found"

    def __init__(self, what: str, name: str, remedy: str = "") -> None:
        self.what = what
        self.name = name
        super().__init__(f"no {what} {name!r}" + (f"; {remedy}" if remedy else ""))


class Conflict(TetherError):
    """The task does not stand where the request needs it to stand."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The transition table has no such change: `change` from `state` (with `reason`)."""

    code = "illegal_transition"

    def __init__(self, state: str, change: str, reason: str | None = None, hint: str = "") -> None:
        self.state = state
        self.change = change
        self.reason = reason
        what = change if reason is None else f"{change} ({reason})"
        super().__init__(f"a task that is {state} cannot {what}" + (f"; {hint}" if hint else ""))


class IdempotencyConflict(Conflict):
    """The idempotency key was used before with another task; use a new key or send the same task."""

    code = "idempotency_conflict"

    def __init__(self, key: str, task_id: str) -> None:
        self.key = key
        self.task_id = task_id
        super().__init__(f"idempotency_key: {key!r} already belongs to {task_id} with another content; use a new key")


class RevisionConflict(Conflict):
    """The task has another revision than the one in If-Match; read it again and decide anew."""

    code = "revision_conflict"


class LeaseLost(TetherError):
    """The writer's lease token is no longer the task's: another worker holds it, or it ended; stop writing."""

    code = "lease_lost"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"the lease of {task_id} is gone; this attempt must stop")


class NotAuthorised(TetherError):
    """No key, an unknown or expired key, or a key without the scope."""

    code = "not_authorised"


class BudgetExceeded(TetherError):
    """A reservation would pass `limit` (a budget key): `used` plus `asked` against `allowed`, all in the limit's unit."""

    code = "budget_exceeded"

    def __init__(self, limit: str, used: float, allowed: float, asked: float = 1) -> None:
        self.limit = limit
        self.used = used
        self.allowed = allowed
        self.asked = asked
        super().__init__(
            f"{limit}: {used:g} of {allowed:g} used and {asked:g} more asked; raise it with `tether approve ID --add {limit}=N`"
        )


class UnpricedModel(TetherError):
    """The task has max_usd and nobody knows the price of `model`; the message has the lines to add."""

    code = "unpriced_model"

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"the price of model {model!r} is unknown and the task has max_usd; add to tether.toml: "
            f'[prices."{model}"] input_usd_per_mtok = …, output_usd_per_mtok = … '
            "(or `free = true` under its [models.…] entry when it costs nothing)"
        )


class TaskFailed(TetherError):
    """The task ended without success; `task` is its document, `partial` what was accomplished before."""

    code = "task_failed"

    def __init__(self, task: Any) -> None:
        self.task = task
        self.partial = task.partial
        self.reason = task.reason
        super().__init__(f"{task.id} is {task.state} ({task.reason}): {task.message}")


class WaitTimeout(TetherError):
    """The task did not get where `wait` was told to wait for within `timeout_s` seconds; it goes on."""

    code = "wait_timeout"

    def __init__(self, task_id: str, state: str, timeout_s: float) -> None:
        self.task_id = task_id
        self.state = state
        super().__init__(f"{task_id} is still {state} after {timeout_s:g} s; it goes on, wait again or cancel it")


class StoreUnavailable(TetherError):
    """The store cannot be opened, read or written now; the message says which and why."""

    code = "store_unavailable"


class StoreTooNew(StoreUnavailable):
    """The store's schema is newer than this release; upgrade Tether, or use another store."""

    code = "store_too_new"


class ServerUnavailable(StoreUnavailable):
    """The API cannot be reached, or does not answer in time.

    status: its HTTP status, None without an answer; retry_after_s: how long it asks to be left alone, seconds.
    """

    code = "server_unavailable"

    def __init__(self, message: str, status: int | None = None, retry_after_s: float = 0.0) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


class QueueUnavailable(TetherError):
    """The broker cannot be reached now; tasks are kept in the store, and workers look there by themselves."""

    code = "queue_unavailable"


class WorkerError(TetherError):
    """A worker, zygote or gateway could not be started; the message says what to change."""

    code = "worker_error"


class LinkError(TetherError):
    """What an agent said over Link was refused; `reason` is the supervisor's closed code."""

    code = "link_refused"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class AttemptEnding(LinkError):
    """The supervisor is ending this attempt (drain, pause, cancel); the last checkpoint is kept, so just return."""

    code = "attempt_ending"


class ToolFailed(LinkError):
    """A tool call ended without a result: `outcome` is error, timeout, refused or outcome_unknown."""

    code = "tool_failed"

    def __init__(self, name: str, outcome: str, message: str) -> None:
        self.name = name
        self.outcome = outcome
        super().__init__(outcome, f"tool {name} {outcome}: {message}")
