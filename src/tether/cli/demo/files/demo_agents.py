"""The agents of `tether demo`: plain functions of a task and a link, each with a fault that Tether has to bear."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tether.agent.hello import TaskView
    from tether.agent.link import Link


def hasher(task: TaskView, link: Link) -> dict[str, Any]:
    """Hash each word; the first attempt hangs inside C code at the third one."""
    state = link.state or {"digests": []}
    for number, word in enumerate(task.input["words"]):
        if number < len(state["digests"]):
            continue
        link.step()
        link.log(f"hashing {word}")
        rounds = 2_000_000_000 if number == 2 and link.attempt == 1 else 50_000
        state["digests"].append(hashlib.pbkdf2_hmac("sha256", word.encode(), b"tether", rounds).hex()[:12])
        link.checkpoint(state)
    return {"digests": state["digests"]}


def archivist(_task: TaskView, link: Link) -> dict[str, Any]:
    """Read four shelves; the third one is closed."""
    found: dict[str, str] = {}
    for shelf in ("ships", "storms", "sailors", "songs"):
        link.step()
        if shelf == "sailors":
            raise PermissionError("the shelf 'sailors' is closed on Sundays")
        found[shelf] = f"{len(shelf)} volumes read"
        link.partial(found)
    return found


def walker(_task: TaskView, link: Link) -> dict[str, Any]:
    """Walk ten short steps and note which attempt made each."""
    state = link.state or {"steps": []}
    while len(state["steps"]) < 10:
        link.step()
        time.sleep(0.3)
        state["steps"].append([link.attempt, len(state["steps"]) + 1])
        link.checkpoint(state)
    return {"steps": state["steps"]}
