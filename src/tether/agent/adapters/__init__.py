"""Adapters: how an attempt of each kind of agent is carried out inside the agent process. Standard library only."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping
from typing import Any

from tether.agent.adapters.entry import Entry, EntryError, load_entry, validate_entry
from tether.agent.adapters.python import conduct, conduct_async
from tether.agent.link import Link, open_link
from tether.errors import AttemptEnding

__all__ = ["execute", "validate_entry"]


def execute(spec: Mapping[str, Any], link_sock: socket.socket) -> int:
    """Carry out one attempt (an AttemptSpec of kind builtin or python) over the Link socket; returns the exit code."""
    try:
        hello = open_link(link_sock)
    except AttemptEnding:
        return 0
    try:
        entry = _entry(spec)
    except EntryError as error:
        with contextlib.suppress(AttemptEnding):
            Link(link_sock, hello).fail("agent_error", f"agents.{spec.get('agent', '')}.entry: {error}")
        return 0
    try:
        if entry.awaitable:
            return conduct_async(entry.function, link_sock, hello)
        return conduct(entry.function, link_sock, hello)
    finally:
        _flush()


def _entry(spec: Mapping[str, Any]) -> Entry:
    if spec["kind"] != "builtin":
        return load_entry(spec["entry"])
    from tether.agent.loop import builtin

    return Entry(function=builtin(spec), awaitable=True)


def _flush() -> None:
    """What the agent printed must be in the pipes before the process leaves without cleanup."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
