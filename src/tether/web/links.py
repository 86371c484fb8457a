"""Links for end users: signed, expiring, for one task, with the actions chosen when it is made. Nothing of them is stored."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.errors import ValidationError
from tether.task import Budget, TaskDocument
from tether.web.problems import Refused

if TYPE_CHECKING:
    from tether.secrets import Vault

__all__ = ["Link", "ceilings", "check_room", "room", "sign", "verified"]

_PURPOSE = "link"
_LONGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a link allows. most: budget key -> the limit no approval through it may pass; until: Unix seconds; by: who made it."""

    task_id: str
    tenant: str
    actions: tuple[str, ...]
    most: Mapping[str, Any]
    until: int
    by: str


def sign(vault: Vault, link: Link) -> str:
    """The link's token, safe in a URL."""
    fields = [link.task_id, link.tenant, list(link.actions), dict(link.most), link.until, link.by]
    body = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()
    return f"{body}.{vault.sign(_PURPOSE, body.encode())}"


def verified(vault: Vault, token: str) -> Link:
    """The link of a token; raises Refused when it is not ours or has expired."""
    body, _, signature = token.partition(".")
    if len(token) > _LONGEST or not token.isascii() or not vault.verify(_PURPOSE, body.encode(), signature):
        raise Refused("not_found", "this link is not valid")
    task_id, tenant, actions, most, until, by = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if time.time() >= until:
        raise Refused("not_found", "this link has expired; ask for a new one")
    return Link(task_id=task_id, tenant=tenant, actions=tuple(actions), most=most, until=until, by=by)


def ceilings(task: TaskDocument, most: Mapping[str, Any]) -> dict[str, Any]:
    """Absolute limits: however often it is used, a link adds no more than `most` to what the task had when it was made."""
    raised = task.budget.plus(most).document()
    return {key: raised[key] for key in most}


def room(task: TaskDocument, link: Link) -> dict[str, Any]:
    """What may still be added through the link."""
    have = task.budget.document()
    left = {key: most - have[key] for key, most in link.most.items()}
    return {key: round(value, 9) if key == "max_usd" else value for key, value in left.items() if value > 0}


def check_room(task: TaskDocument, link: Link, add: Mapping[str, Any]) -> None:
    """Raises ValidationError when the link does not allow that much."""
    wanted = Budget.of(task.budget.plus(add)).document()
    for key in add:
        if wanted[key] > link.most.get(key, 0):
            raise ValidationError(
                f"add.{key}", "is more than this link allows", f"it allows {room(task, link) or 'nothing more'}"
            )
