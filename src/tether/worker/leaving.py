"""The agent's process ended by itself: the result it left, or in plain words why there is none."""

from __future__ import annotations

from tether.agent.adapters.command import CommandOutcome
from tether.agent.adapters.command import outcome as command_outcome
from tether.lifecycle import Reason
from tether.worker import launching
from tether.worker.attempt import LiveAttempt
from tether.worker.ending import exit_code
from tether.worker.outcome import Outcome
from tether.worker.surroundings import Surroundings

__all__ = ["Leaving"]


class Leaving:
    """Ends attempts whose agent has left."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def agent_left(self, attempt: LiveAttempt) -> None:
        """The agent's process ended by itself; a result or failure it told of was handled before."""
        if not attempt.is_live:
            return
        code = exit_code(attempt.agent_status)
        if attempt.stop_wanted is not None:
            self._around.end(attempt, attempt.stop_wanted, dump=False)
        elif attempt.agent.kind == "command":
            self._collect(attempt, code)
        else:
            self._around.end(attempt, _left_without_result(code), dump=False)

    def _collect(self, attempt: LiveAttempt, code: int | None) -> None:
        """A command's result is its result.json, or what it printed."""
        for pipe in attempt.pipes.values():
            pipe.read()
        stdout = attempt.captured["stdout"].tail()
        workspace = None if attempt.agent.in_place else launching.workspace_of(self._around.settings, attempt.claim)
        schema = attempt.claim.task.result_schema

        def read() -> CommandOutcome:
            found = command_outcome(workspace, stdout, code or 0)
            if found.problem is None and schema is not None:
                problem = self._around.checks.problem_of(found.result, schema)
                if problem is not None:
                    return CommandOutcome(result=found.result, problem=problem, reason="invalid_result")
            return found

        self._around.offload(read, lambda found: self._collected(attempt, found, code))

    def _collected(self, attempt: LiveAttempt, found: CommandOutcome | Exception, code: int | None) -> None:
        if isinstance(found, Exception):
            outcome = Outcome(reason=Reason.AGENT_ERROR, message=f"its result cannot be read: {found}", exit=code)
        elif found.problem is None:
            outcome = Outcome(reason=Reason.COMPLETED, has_result=True, result=found.result, exit=code)
        else:
            reason = Reason.INVALID_RESULT if found.reason == "invalid_result" else _reason_of_exit(code)
            outcome = Outcome(reason=reason, message=_with_last_words(found.problem, attempt), exit=code)
            if found.result not in (None, ""):
                attempt.partial = found.result
                self._around.journal.write(attempt.entry(partial=found.result))
        self._around.end(attempt, outcome, dump=False)


def _reason_of_exit(code: int | None) -> Reason:
    """A SIGKILL nobody here sent is the kernel's out-of-memory killer; SIGXCPU and SIGXFSZ are limits too."""
    return Reason.RESOURCE_LIMIT if code in (-9, -24, -25) else Reason.AGENT_ERROR


def _with_last_words(problem: str, attempt: LiveAttempt) -> str:
    """The problem, and the last line the command wrote to stderr, which usually says why."""
    lines = attempt.captured["stderr"].tail(2000).strip().splitlines()
    return f"{problem}: {lines[-1][:300]}" if lines else problem


def _left_without_result(code: int | None) -> Outcome:
    how = "ended" if code is None else f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Outcome(reason=_reason_of_exit(code), message=f"the agent's process {how} before it gave a result", exit=code)
