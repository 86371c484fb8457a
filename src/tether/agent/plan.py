"""One attempt as its zygote was told to start it; what init, the agent and its tools read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tether.agent.sandbox import Ids, Walls
from tether.agent.visible import Visible, around

__all__ = ["Channels", "Plan"]

_DEFAULT_MEMORY = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Descriptors that came with the order to start, in the order of the packet."""

    link: int
    ctl: int
    stdout: int
    stderr: int
    stacks: int
    astacks: int

    @classmethod
    def of(cls, fds: Sequence[int]) -> Channels:
        """From the six descriptors of the packet; raises ValueError for another number."""
        if len(fds) != 6:
            raise ValueError(f"a start needs 6 descriptors, not {len(fds)}")
        link, ctl, stdout, stderr, stacks, astacks = fds
        return cls(link=link, ctl=ctl, stdout=stdout, stderr=stderr, stacks=stacks, astacks=astacks)

    def all(self) -> tuple[int, ...]:
        """Every descriptor."""
        return (self.link, self.ctl, self.stdout, self.stderr, self.stacks, self.astacks)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """spec: the AttemptSpec; `namespaces`: whether it gets its own; `fresh`: the agent imports its entry itself."""

    key: str
    spec: Mapping[str, Any]
    channels: Channels
    namespaces: bool
    walls: Walls
    ids: Ids
    visible: Visible
    code_dir: str | None
    limits: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def workspace(self) -> str:
        """The folder that is the attempt's own, at the same path inside and outside."""
        return self.spec["workspace"]

    @property
    def memory_bytes(self) -> int:
        """Bound of each memory file system."""
        return int(self.limits.get("memory_bytes") or _DEFAULT_MEMORY)

    @property
    def ports(self) -> tuple[int, ...]:
        """Port numbers of the gateway and the proxy on the host; empty when they are inside."""
        found = [(self.spec.get(name) or {}).get("port") for name in ("gateway", "proxy")]
        return tuple(int(port) for port in found if port)


def plan_of(
    key: str, spec: Mapping[str, Any], fds: Sequence[int], *, code_dir: str | None, namespaces: bool, walls: Walls
) -> Plan:
    """The plan for a start packet; raises ValueError or KeyError when it lacks something."""
    if not os.path.isdir(spec["workspace"]):
        raise ValueError(f"workspace: {spec['workspace']} is not a folder")
    for name in ("readable", "writable"):
        if "/" in map(os.path.normpath, spec.get(name) or ()):
            raise ValueError(f"{name}: / would show everything; name the folders the agent needs")
    visible = around(
        code_dir=code_dir,
        workspace=spec["workspace"],
        readable=spec.get("readable") or (),
        writable=spec.get("writable") or (),
        hidden=spec.get("hidden") or (),
    )
    return Plan(
        key=key,
        spec=spec,
        channels=Channels.of(fds),
        namespaces=namespaces,
        walls=walls,
        ids=Ids.of(spec.get("uid")),
        visible=visible,
        code_dir=code_dir,
        limits=spec.get("limits") or {},
    )
