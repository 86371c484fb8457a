"""What clients asked of a leased task, done as soon as its lease is free."""

from __future__ import annotations

from tether.events import NewEvent
from tether.lifecycle import FINAL, Change, Reason, State
from tether.store import asking, moves
from tether.store.taskrow import TaskRow
from tether.store.writing import Writing

__all__ = ["honour", "resume"]


def honour(tx: Writing, row: TaskRow) -> None:
    """The strongest wish that still makes sense where the task stands now; the others are void."""
    wanted = {} if row.state in FINAL else row.wanted()
    row.unwant()
    if "hold" in wanted:  # what it waits for stays true without a lease
        row.want("hold", **wanted["hold"])
    if "cancel" in wanted:
        moves.cancel(tx, row, **wanted["cancel"])
    elif "reject" in wanted and row.state == State.PAUSED:
        asking.fail(tx, row, Change.REJECT, Reason.REJECTED, wanted["reject"]["note"])
    elif "escalate" in wanted and row.reason != Reason.ESCALATED:
        asking.escalate(tx, row, by=wanted["escalate"]["by"], note=wanted["escalate"]["note"])
    elif "unpark" in wanted and row.state == State.PAUSED:
        resume(tx, row, **wanted["unpark"])
    elif "pause" in wanted and row.state == State.QUEUED:
        asking.pause(tx, row, Reason.OPERATOR, detail=wanted["pause"]["note"])


def resume(tx: Writing, row: TaskRow, by: str, note: str = "") -> None:
    """A paused task stands in line again."""
    moves.move(tx, row, Change.RESUME, event=NewEvent(type="task_resumed", data={"by": by, "note": note}))
