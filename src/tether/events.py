"""The closed list of events: every row of a task's journal is one of KINDS, and everything else reads only them.

Adding a kind or a field is a new minor VERSION; removing or changing one is a new major one.
docs/reference/events.md is generated from KINDS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from tether.checks import rfc3339
from tether.errors import ValidationError

__all__ = ["KINDS", "VERSION", "Event", "Kind", "NewEvent", "redact"]

VERSION = "1.0"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of event: what it tells, and its data fields with their meaning."""

    doc: str
    fields: Mapping[str, str]


def _kind(doc: str, **data: str) -> Kind:
    return Kind(doc=doc, fields=data)


KINDS: dict[str, Kind] = {
    # the task
    "task_submitted": _kind("A client put the task into the store.", by="who", warnings="what the operator should know"),
    "task_updated": _kind("A human or client changed limits, priority or note.", by="who", changes="field -> new value"),
    "task_resumed": _kind("A paused task was queued again.", by="who", note="why"),
    "task_retried": _kind("A final task was queued again.", by="who", note="why", from_checkpoint="number or null"),
    "task_requeued": _kind("An attempt ended and another will follow.", reason="reason", delay_s="back-off", failures="so far"),
    "task_paused": _kind("The task waits for a human.", reason="reason", approval="approval id or null", message="for the user"),
    "task_succeeded": _kind("The task is done.", message="for the user"),
    "task_failed": _kind("The task ended without success.", reason="reason", message="for the user"),
    "task_cancelled": _kind("Somebody cancelled the task.", by="who", message="for the user"),
    "task_escalated": _kind("A human was asked to take over.", by="who", note="why"),
    "pause_requested": _kind("Somebody asked a running task to pause.", by="who"),
    "cancel_requested": _kind("Somebody asked a running task to end.", by="who"),
    # the attempt
    "attempt_started": _kind(
        "A worker leased the task and started its process tree.",
        worker="worker id",
        pid="process id of init on that host",
        isolation="wall -> enforced | cooperative",
        from_checkpoint="number or null",
        agent_version="version",
        start_ms="claim to first line, milliseconds",
    ),
    "attempt_ended": _kind(
        "The process tree is gone.",
        reason="reason",
        exit="exit code, or minus the signal, or null",
        message="plain words",
        active_s="active seconds of this attempt",
        overshoot_ms="deadline to last process gone, milliseconds, or null",
        dump_ms="beginning of the end to a durable dump, milliseconds, or null without one",
        killed="whether we ended it",
    ),
    "attempt_lost": _kind("The worker that held the lease is gone.", worker="worker id", found_by="who saw it"),
    "attempt_frozen": _kind("The attempt was stopped because its lease could not be renewed.", why="plain words"),
    "attempt_thawed": _kind("The store came back and the lease was still ours.", frozen_s="seconds"),
    "timeout_fired": _kind(
        "A deadline passed.",
        level="tool | step | task | idle",
        limit_s="seconds",
        what="what was running",
        late_ms="milliseconds after the deadline",
    ),
    "state_dumped": _kind(
        "The full agent state, made durable before a kill.",
        trigger="reason of the kill",
        stacks="Python stacks of threads, text or null",
        async_stacks="stacks of asyncio tasks, text or null",
        processes="facts of /proc, one map per process",
        output_tail="last output, text",
        in_flight="calls and tools in flight",
        checkpoint="number of the last checkpoint or null",
        messages="number of messages in it",
        usage="spend so far",
        took_ms="beginning of the end to collected, milliseconds",
        notes="what could not be collected and why",
    ),
    "output": _kind("Lines the agent wrote.", stream="stdout | stderr", text="text", dropped="bytes not kept"),
    "resource_limit": _kind(
        "A bound of the attempt was hit.", what="which", limit="number with its unit", action="what was done"
    ),
    # steps and tools
    "step_started": _kind("A think/act cycle began.", inferred="true when read from traffic"),
    "step_ended": _kind("A think/act cycle ended.", took_ms="milliseconds", inferred="true when read from traffic"),
    "thought": _kind("What the agent says it thinks.", thoughts="text", plan="list", criticism="text"),
    "tool_started": _kind(
        "A tool call is about to run; durable before it does.",
        call_id="the agent's id of the call",
        name="tool",
        args="arguments",
        timeout_s="seconds",
        inferred="true when read from traffic",
    ),
    "tool_ended": _kind(
        "A tool call ended; durable before the agent sees it.",
        call_id="the agent's id of the call",
        name="tool",
        outcome="ok | error | timeout | refused | outcome_unknown",
        result="result text (bounded) or null",
        error="text or null",
        took_ms="milliseconds",
        inferred="true when read from traffic",
    ),
    "memory_trimmed": _kind(
        "Old messages were dropped or summarised.", before_tokens="tokens", after_tokens="tokens", how="trim | summarise"
    ),
    # calls
    "call_started": _kind(
        "A model call was reserved and sent.",
        call_id="call id",
        route="API route",
        model="model asked for",
        upstream="configured upstream",
        hold_nanousd="nano-dollars held",
        prompt_tokens_bound="upper bound of input tokens",
        max_output="output tokens allowed",
        streamed="true for a stream",
    ),
    "call_ended": _kind(
        "A model call was settled.",
        call_id="call id",
        outcome="ok | upstream_error | cut | revoked | unknown",
        status="HTTP status or null",
        model="model that answered",
        input_tokens="tokens",
        output_tokens="tokens",
        cached_tokens="tokens",
        nanousd="nano-dollars settled",
        settled="usage | hold | refund",
        took_ms="milliseconds",
        context_window="tokens or null",
        finish="finish reason or null",
        error="text or null",
    ),
    "call_refused": _kind(
        "A call was refused before it was sent.",
        limit="budget key, or unpriced_model, route, policy, revoked, store",
        used="so far",
        allowed="limit",
        model="model or host",
        message="text",
        repeats="refusals like this one since the last row",
    ),
    "web_request": _kind(
        "A web request or connection passed the egress proxy.",
        call_id="call id",
        host="host",
        port="port",
        method="method or CONNECT",
        status="status or null",
        sent_bytes="bytes",
        received_bytes="bytes",
        outcome="ok | error | timeout | too_large",
        nanousd="nano-dollars",
        took_ms="milliseconds",
    ),
    "charged": _kind("The agent reported a cost of its own.", nanousd="nano-dollars", what="what for"),
    "budget_warning": _kind("80 % of a limit is used.", limit="budget key", used="so far", allowed="limit"),
    "call_parked": _kind(
        "A call is held while a human decides.", call_id="call id", approval="approval id or null", park_s="seconds"
    ),
    "call_unparked": _kind("A held call went on or was dropped.", call_id="call id", outcome="released | dropped"),
    "call_replayed": _kind("A recorded answer was given again at no cost.", call_id="call id", of_attempt="attempt number"),
    "replay_diverged": _kind(
        "The agent asked something that was not recorded; calls are live again.", call_id="call id", left="unused answers"
    ),
    # state
    "checkpoint_saved": _kind("The state at the end of a step is durable.", number="number", bytes="bytes", kind="base | delta"),
    "partial_saved": _kind("What was accomplished so far.", bytes="bytes", by="agent | step"),
    "result_rejected": _kind(
        "A result did not match result_schema.", problem="text", repair="true when one repair is asked", raw="raw text"
    ),
    "artifact_saved": _kind("A file of the workspace was kept.", name="name", bytes="bytes", sha256="hex"),
    "approval_asked": _kind("A question to a human.", approval="approval id", kind="kind", question="text", key="key or null"),
    "approval_decided": _kind(
        "A human decided.", approval="approval id", decision="decision", by="who", add="amounts", comment="text", text="answer"
    ),
    "approval_expired": _kind("Nobody decided in time.", approval="approval id"),
    "stuck_suspected": _kind(
        "The journal shows a loop.", pattern="same_call | same_error | ping_pong", count="repeats", nudged="true when nudged"
    ),
    "agent_log": _kind("A line the agent logged on purpose.", level="level", text="text"),
}


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event on its way into the journal; seq and time are given by the store in the same transaction."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attempt: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        kind = KINDS.get(self.type)
        if kind is None:
            raise ValidationError("event.type", f"{self.type!r} is not an event", "see tether.events.KINDS")
        for key in self.data:
            if key not in kind.fields:
                raise ValidationError(
                    f"event.{self.type}.{key}", "is not a field of this event", f"known: {', '.join(kind.fields)}"
                )


@dataclass(frozen=True, kw_only=True)
class Event:
    """One row of a task's journal. seq counts from 1 per task; at_ms is Unix time in milliseconds by the store's clock."""

    task_id: str
    seq: int
    attempt: int | None
    step: int | None
    type: str
    at_ms: int
    data: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The event as JSON, exactly the public contract."""
        return {
            "seq": self.seq,
            "task_id": self.task_id,
            "attempt": self.attempt,
            "step": self.step,
            "type": self.type,
            "at": rfc3339(self.at_ms),
            "data": dict(self.data),
        }


_SECRET_KEY = re.compile(
    r"(?i)(?:^|[_-])(?:api[_-]?key|authorization|auth|password|passwd|secret|secrets|access[_-]?token|refresh[_-]?token|bearer|cookie|credential[s]?|private[_-]?key)$"
)
_SECRET_TEXT = re.compile(
    r"(?:sk-[A-Za-z0-9_-]{16,}|tth_[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{30,}|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
)
_SHORTEST_SECRET = 14
MASK = "[redacted]"


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    """Whether what stands under this key is a secret by its name."""
    return _SECRET_KEY.search(key) is not None


def redact(value: Any) -> Any:
    """A copy of `value` (JSON) with secrets masked: by the name of their key, and by the shape of well-known tokens."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        # Every known shape of a token is longer than this.
        return _SECRET_TEXT.sub(MASK, value) if len(value) >= _SHORTEST_SECRET else value
    if isinstance(value, Mapping):
        return {
            key: item
            if item is None or isinstance(item, int | float)
            else MASK
            if isinstance(item, str) and item and _is_secret(str(key))
            else redact(item)
            for key, item in cast("Mapping[str, Any]", value).items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in cast("list[Any]", value)]
    return value
