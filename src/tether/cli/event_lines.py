"""One readable line for every kind of event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tether.cli.output import clean, one_line
from tether.task import usd_from_nano

if TYPE_CHECKING:
    from rich.text import Text

    from tether.events import Event

__all__ = ["LINES", "NOISE", "STYLES", "describe", "line", "money", "seconds"]

#: What is said of each event; a name in braces is a field of it, cleaned and shortened.
LINES: dict[str, str] = {
    "task_submitted": "submitted by {by}",
    "task_updated": "limits changed by {by}: {changes}",
    "task_resumed": "queued again by {by}",
    "task_retried": "retried by {by} {origin}",
    "task_requeued": "will be tried again in {delay_s} s ({reason}, {failures} failed so far)",
    "task_paused": "paused ({reason}): {message}",
    "task_succeeded": "succeeded: {message}",
    "task_failed": "failed ({reason}): {message}",
    "task_cancelled": "cancelled by {by}",
    "task_escalated": "escalated by {by}: {note}",
    "pause_requested": "{by} asked it to pause",
    "cancel_requested": "{by} asked it to end",
    "attempt_started": "attempt started by {worker} {origin}",
    "attempt_ended": "attempt ended ({reason}) after {active_s} s: {message}",
    "attempt_lost": "worker {worker} is gone; found by {found_by}",
    "attempt_frozen": "stopped while the store is away: {why}",
    "attempt_thawed": "goes on after {frozen_s} s",
    "timeout_fired": "{level} limit of {limit_s} s passed: {what}",
    "state_dumped": "state saved before the kill ({trigger}) in {took_ms} ms; see `tether state {task_id}`",
    "output": "{stream}: {text}",
    "resource_limit": "{what} reached {limit}: {action}",
    "step_started": "step {step}",
    "step_ended": "step {step} took {took_ms} ms",
    "thought": "thinks: {thoughts}",
    "tool_started": "runs {name} {args}",
    "tool_ended": "{name}: {outcome} in {took_ms} ms {answer}",
    "memory_trimmed": "memory trimmed from {before_tokens} to {after_tokens} tokens ({how})",
    "call_started": "asks {model}",
    "call_ended": "{model} answered ({outcome}): {input_tokens} + {output_tokens} tokens, {usd}, {took_ms} ms {error}",
    "call_refused": "call refused ({limit}, {used} of {allowed}): {message}",
    "web_request": "{method} {host}:{port} → {status} ({outcome}, {received_bytes} bytes)",
    "charged": "charged {usd} for {what}",
    "budget_warning": "80 % of {limit} used: {used} of {allowed}",
    "call_parked": "a call is held until {approval} is decided",
    "call_unparked": "the held call was {outcome}",
    "call_replayed": "a recorded answer of attempt {of_attempt} was given again",
    "replay_diverged": "asked something new; calls are live again",
    "checkpoint_saved": "checkpoint {number} ({bytes} bytes)",
    "partial_saved": "partial result saved ({bytes} bytes, by {by})",
    "result_rejected": "result does not match the schema: {problem}",
    "artifact_saved": "file kept: {name} ({bytes} bytes)",
    "approval_asked": "asks a human ({kind}): {question}",
    "approval_decided": "{by} decided: {decision} {add} {text} {comment}",
    "approval_expired": "nobody decided in time",
    "stuck_suspected": "looks stuck ({pattern} × {count})",
    "agent_log": "{level}: {text}",
}

#: Kinds that only matter to who looks closely; the live view leaves them out.
NOISE = frozenset(
    {
        "step_ended",
        "call_started",
        "checkpoint_saved",
        "partial_saved",
        "web_request",
        "call_replayed",
        "memory_trimmed",
        "output",
    }
)

STYLES: dict[str, str] = {
    "task_succeeded": "bold green",
    "task_failed": "bold red",
    "task_cancelled": "bold red",
    "task_paused": "bold yellow",
    "approval_asked": "yellow",
    "budget_warning": "yellow",
    "stuck_suspected": "yellow",
    "task_requeued": "yellow",
    "timeout_fired": "red",
    "call_refused": "red",
    "attempt_lost": "red",
    "resource_limit": "red",
    "result_rejected": "red",
    "state_dumped": "magenta",
    "thought": "italic",
    "tool_started": "cyan",
    "tool_ended": "cyan",
    "step_started": "bold",
}


def money(nanousd: int) -> str:
    """Nano-dollars as text with the digits that matter."""
    usd = usd_from_nano(nanousd)
    return f"${usd:.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.6f}".rstrip("0")


def seconds(value: float) -> str:
    """Seconds as people say them."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


class _Fields(dict[str, Any]):
    """The fields of an event as clean short text; a missing or empty one is nothing."""

    def __missing__(self, key: str) -> str:
        return ""


_NULLS = {"delay_s": "0"}


def _field(key: str, value: Any) -> str:
    if value is None or value == {}:
        return _NULLS.get(key, "")
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return one_line(value)


def describe(event: Event) -> str:
    """The event in plain words, one line, without control characters."""
    data: Mapping[str, Any] = event.data
    shown = _Fields({key: _field(key, value) for key, value in data.items()})
    shown["step"] = "" if event.step is None else str(event.step)
    shown["task_id"] = event.task_id
    if isinstance(data.get("nanousd"), int):
        shown["usd"] = money(data["nanousd"])
    number = shown["from_checkpoint"]
    shown["origin"] = f"from checkpoint {number}" if number else "from the start"
    if event.type == "tool_ended":
        shown["answer"] = one_line(data.get("error") or data.get("result") or "", 100)
    text = LINES[event.type].format_map(shown)
    return " ".join(text.split()).removesuffix(":").replace(" ()", "")


def line(event: Event, *, wide: bool = False) -> Text:
    """The event as one styled line: time, attempt and step, words; wide: with its number."""
    from rich.text import Text

    at = datetime.fromtimestamp(event.at_ms / 1000).strftime("%H:%M:%S")
    place = f"{event.attempt or '·'}.{event.step if event.step is not None else '·'}"
    text = Text()
    if wide:
        text.append(f"{event.seq:>5} ", style="dim")
    text.append(f"{at} ", style="dim")
    text.append(f"{place:<5} ", style="dim")
    text.append(clean(describe(event)), style=STYLES.get(event.type, ""))
    return text
