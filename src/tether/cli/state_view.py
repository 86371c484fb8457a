"""The inside of an attempt as a person reads it: what was in flight, the stacks, the processes, the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tether.cli.output import one_line
from tether.cli.task_view import lines_of

if TYPE_CHECKING:
    from tether.store.rows import AttemptState

__all__ = ["state_document", "state_view"]

_BLOCKS = (
    ("stacks", "stacks of the threads"),
    ("async_stacks", "stacks of the asyncio tasks"),
    ("output_tail", "last output"),
)


def state_document(state: AttemptState) -> dict[str, Any]:
    """The dumped state as JSON."""
    from tether.task import rfc3339

    checkpoint = state.checkpoint
    return {
        "task_id": state.task_id,
        "attempt": state.attempt,
        "dumped_at": rfc3339(state.dumped_at_ms),
        "dump": None if state.dump is None else dict(state.dump),
        "checkpoint": None
        if checkpoint is None
        else {
            "number": checkpoint.number,
            "attempt": checkpoint.attempt,
            "step": checkpoint.step,
            "agent_version": checkpoint.agent_version,
            "created_at": rfc3339(checkpoint.created_at_ms),
            "state": checkpoint.state,
        },
    }


def state_view(state: AttemptState) -> RenderableType:
    """The dumped state for a terminal."""
    return Group(*_parts(state))


def _parts(state: AttemptState) -> Iterator[RenderableType]:
    dump = state.dump
    if dump is None:
        yield Text(f"attempt {state.attempt} was not ended by a kill of ours; there is no dump", style="dim")
    else:
        saved = one_line(dump.get("took_ms"))
        yield Text(
            f"attempt {state.attempt}, saved before the kill ({one_line(dump.get('trigger'))}) in {saved} ms", style="bold"
        )
        yield from _block("in flight", _in_flight(dump.get("in_flight")))
        for key, title in _BLOCKS:
            yield from _block(title, dump.get(key))
        yield from _block("processes", _processes(dump.get("processes")))
        yield from _block("not collected", dump.get("notes"))
    if state.checkpoint is not None:
        checkpoint = state.checkpoint
        yield from _block(f"checkpoint {checkpoint.number} (step {checkpoint.step})", lines_of(checkpoint.state, 30))


def _block(title: str, body: Any) -> Iterator[RenderableType]:
    if body:
        yield Text(title, style="dim")
        yield Padding(Text(lines_of(body, 80)), (0, 0, 0, 2))


def _in_flight(found: Any) -> str:
    return (
        "\n".join(one_line(item) for item in found)
        if isinstance(found, Sequence) and not isinstance(found, str)
        else one_line(found or "")
    )


def _processes(found: Any) -> str:
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ""
    return "\n".join(_process(item) for item in found if isinstance(item, Mapping))


def _process(facts: Mapping[str, Any]) -> str:
    first = " ".join(f"{key} {one_line(facts[key], 60)}" for key in ("pid", "state", "wchan") if facts.get(key) not in (None, ""))
    return f"{first}  {one_line(facts.get('cmdline') or facts.get('command') or facts.get('comm') or '', 100)}"
