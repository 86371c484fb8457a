"""Real fakes for tests of agents: a scripted model server, a small web site, a clock that jumps.

docs/how-to/test-your-agent.md shows their use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tether.testing.clock import FakeClock as FakeClock
    from tether.testing.ledger import Entry as Entry
    from tether.testing.ledger import read_ledger as read_ledger
    from tether.testing.script import Fault as Fault
    from tether.testing.script import Reply as Reply
    from tether.testing.script import Request as Request
    from tether.testing.script import Usage as Usage
    from tether.testing.script import call as call
    from tether.testing.script import fault as fault
    from tether.testing.script import reply as reply
    from tether.testing.scripted import ScriptedModels as ScriptedModels
    from tether.testing.web import WebSite as WebSite

_HOMES = {
    "Entry": "ledger",
    "FakeClock": "clock",
    "Fault": "script",
    "Reply": "script",
    "Request": "script",
    "ScriptedModels": "scripted",
    "Usage": "script",
    "WebSite": "web",
    "call": "script",
    "fault": "script",
    "read_ledger": "ledger",
    "reply": "script",
}

__all__ = [
    "Entry",
    "FakeClock",
    "Fault",
    "Reply",
    "Request",
    "ScriptedModels",
    "Usage",
    "WebSite",
    "call",
    "fault",
    "read_ledger",
    "reply",
]


def __getattr__(name: str) -> Any:
    # imported on first use, so that a test which wants only the clock does not load a web server
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tether.testing' has no attribute {name!r}")
    return getattr(import_module(f"tether.testing.{home}"), name)
