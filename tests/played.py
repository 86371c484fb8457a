"""A worker's part, played on a store: claims and journals as the supervisor does, without any process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tether.events import NewEvent
from tether.lifecycle import Change, Reason
from tether.store import Store
from tether.store.ids import new_id
from tether.store.rows import UNSET, Claim, Ending, Entry, NewApproval, NewCheckpoint, NewWorker, Reserve, Settle, Started
from tether.task import ApprovalKind

WALLS = {"files": "enforced", "processes": "enforced", "network": "cooperative"}


class PlayedWorker:
    """Registered on entering; every method is one transaction that must be accepted."""

    def __init__(self, store: Store, agents: tuple[str, ...] = ("autogpt",)) -> None:
        self.store = store
        self.agents = agents
        self.id = new_id("wrk")
        worker = NewWorker(id=self.id, host="here", boot_id="boot", pid=1, start_time=1, slots=4, agents=agents)
        assert store.register_worker(worker, lease_s=300)

    def claim(self) -> Claim:
        """The next task, with its attempt started."""
        claim = self.store.claim(self.id, self.agents, 1)[0]
        data = {"worker": self.id, "pid": 4711, "isolation": WALLS, "from_checkpoint": None}
        self.write(claim, NewEvent(type="attempt_started", data=data, attempt=claim.attempt), started=Started(isolation=WALLS))
        return claim

    def write(self, claim: Claim, *events: NewEvent, **fields: Any) -> None:
        """Journal events and whatever else an Entry has."""
        entry = Entry(task_id=claim.task_id, lease_token=claim.lease_token, attempt=claim.attempt, events=events, **fields)
        written = self.store.journal([entry])[0]
        assert written, written.problem

    def step(self, claim: Claim, number: int, thoughts: str, *, partial: Any = UNSET) -> None:
        """A step with a thought, a model call for $0.002, a tool call and a checkpoint."""
        at = {"attempt": claim.attempt, "step": number}
        who: dict[str, Any] = {"task_id": claim.task_id, "lease_token": claim.lease_token, "attempt": claim.attempt}
        call_id = f"call-{claim.attempt}-{number}"
        self.write(claim, NewEvent(type="step_started", **at), NewEvent(type="thought", data={"thoughts": thoughts}, **at))
        assert self.store.reserve([Reserve(kind="llm", call_id=call_id, name="scripted", hold_nanousd=5_000_000, **who)])[0]
        self.store.settle([Settle(task_id=claim.task_id, call_id=call_id, nanousd=2_000_000, input_tokens=100, output_tokens=20)])
        started = {"call_id": f"t{number}", "name": "read_file", "args": {"path": "a.txt"}, "timeout_s": 30}
        ended = {"call_id": f"t{number}", "name": "read_file", "outcome": "ok", "result": "text", "took_ms": 5}
        self.write(
            claim,
            NewEvent(type="tool_started", data=started, **at),
            NewEvent(type="tool_ended", data=ended, **at),
            checkpoint=NewCheckpoint(number=number, state={"at": number}, step=number),
            partial=partial,
            add_steps=1,
        )

    def succeed(self, claim: Claim, result: Any) -> None:
        """End it well."""
        ending = Ending(change=Change.FINISH, reason=Reason.COMPLETED, attempt_state="succeeded", message="done", result=result)
        self.write(claim, ending=ending, active_s=1.0)

    def fail(self, claim: Claim, reason: Reason = Reason.AGENT_ERROR, message: str = "it broke") -> None:
        """End it badly."""
        ending = Ending(change=Change.FAIL, reason=reason, attempt_state="failed", message=message, consumes_attempt=True)
        self.write(claim, ending=ending)

    def dump(self, claim: Claim, stacks: str) -> None:
        """What is saved before a kill."""
        data = {
            "trigger": "step_timeout",
            "stacks": stacks,
            "processes": [{"pid": 12, "state": "S", "cmdline": "python"}],
            "output_tail": "last words",
            "in_flight": [{"tool": "run_shell"}],
            "took_ms": 12,
        }
        self.write(claim, NewEvent(type="state_dumped", data=data, attempt=claim.attempt))

    def pause(self, claim: Claim, kind: str, question: str, details: Mapping[str, Any] | None = None) -> None:
        """Stop it with a question to a human."""
        reason = {
            ApprovalKind.BUDGET: Reason.BUDGET,
            ApprovalKind.QUESTION: Reason.QUESTION,
            ApprovalKind.APPROVAL: Reason.APPROVAL,
        }[kind]
        approval = NewApproval(kind=kind, question=question, details=details or {}, key="k")
        ending = Ending(change=Change.PAUSE, reason=reason, attempt_state="paused", message=question)
        self.write(claim, ending=ending, approval=approval)
