"""What goes into the store and what comes out: frozen rows, integers everywhere (milliseconds, nano-dollars).

The documents of a stored task (TaskDocument, Approval, Attempt, Usage) live in tether.task.
"""

from __future__ import annotations

from tether.store.rows.claimed import Checkpoint, Claim, NewTask, ToolRecord
from tether.store.rows.journaled import (
    UNSET,
    Append,
    Ending,
    Entry,
    NewApproval,
    NewArtifact,
    NewCheckpoint,
    Park,
    Started,
    Unset,
    Written,
)
from tether.store.rows.listed import AttemptState, Page, Tail, TaskFilter
from tether.store.rows.metered import Account, CallKind, Counters, Recording, Refused, Reserve, Reserved, Settle, Settled
from tether.store.rows.watched import Beat, Expired, Hold, Intent, NewWorker, Rescued, Wake, WorkerRow

__all__ = [
    "Account",
    "Append",
    "AttemptState",
    "Beat",
    "CallKind",
    "Checkpoint",
    "Claim",
    "Counters",
    "Ending",
    "Entry",
    "Expired",
    "Hold",
    "Intent",
    "NewApproval",
    "NewArtifact",
    "NewCheckpoint",
    "NewTask",
    "NewWorker",
    "Page",
    "Park",
    "Recording",
    "Refused",
    "Rescued",
    "Reserve",
    "Reserved",
    "Settle",
    "Settled",
    "Started",
    "Tail",
    "TaskFilter",
    "ToolRecord",
    "UNSET",
    "Unset",
    "Wake",
    "WorkerRow",
    "Written",
]
