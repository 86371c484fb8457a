"""Asking the person at the terminal what a paused task wants to know, and passing the decision on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tether.cli.actions import asked, missing_amount
from tether.cli.deciding import grounds
from tether.cli.output import clean, say
from tether.errors import Conflict, ValidationError
from tether.task import ApprovalKind

if TYPE_CHECKING:
    from tether.client import Client
    from tether.task import Approval, TaskDocument

__all__ = ["decide", "interactive"]


def interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def decide(client: Client, task: TaskDocument, by: str) -> bool:
    """Ask and act; False when the person leaves the task paused."""
    say(clean(asked(task)), "yellow")
    for line in grounds(task.approval) if task.approval is not None else ():
        say(line, "dim")
    try:
        return _ask(client, task, by)
    except Conflict as error:  # somebody else was faster
        say(str(error), "dim")
        return True
    except (EOFError, KeyboardInterrupt):
        say()
        return False


def _ask(client: Client, task: TaskDocument, by: str) -> bool:
    approval = task.approval
    if approval is None or approval.kind in (ApprovalKind.STUCK, ApprovalKind.ESCALATED):
        return _resume(client, task, approval, by)
    if approval.kind == ApprovalKind.BUDGET:
        return _budget(client, task, approval, by)
    if approval.kind == ApprovalKind.QUESTION:
        text = _asked("your answer (empty: leave it paused): ")
        return bool(text) and bool(client.answer(task.id, text, by=by))
    return _yes_or_no(client, task, by)


def _resume(client: Client, task: TaskDocument, approval: Approval | None, by: str) -> bool:
    if not _agreed("let it go on?"):
        return False
    if approval is None:
        client.resume(task.id, by=by)
    else:
        client.approve(task.id, by=by)
    return True


def _yes_or_no(client: Client, task: TaskDocument, by: str) -> bool:
    text = _asked("approve? (y, n = reject, empty = leave it paused): ").lower()
    if text in ("y", "yes"):
        client.approve(task.id, by=by)
    elif text in ("n", "no"):
        client.reject(task.id, by=by)
    return bool(text)


def _budget(client: Client, task: TaskDocument, approval: Approval, by: str) -> bool:
    missing = missing_amount(approval, task)
    limit, amount = missing if missing else ("max_llm_calls", 1.0)
    while True:
        text = _asked(f"add how much to {limit}? (y = {amount:g}, n = leave it paused): ").lower()
        if text in ("n", "no", ""):
            return False
        wanted = f"{amount:g}" if text in ("y", "yes") else text
        try:
            client.approve(task.id, add={limit: number(wanted, limit)}, by=by)
        except ValidationError as error:
            say(f"error: {error}", "red")
        else:
            return True


def _asked(prompt: str) -> str:
    """A line of the terminal; the prompt goes to stderr, because stdout is for the result alone."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _agreed(question: str) -> bool:
    return _asked(f"{question} (y/n): ").lower() in ("y", "yes")


def number(text: str, field: str) -> float:
    """A typed number; raises ValidationError naming `field`."""
    try:
        return float(text)
    except ValueError:
        raise ValidationError(field, f"{text!r} is not a number", "for example 5") from None
