"""What walls a zygote can offer its attempts on this machine, and whether each of them may have a user of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tether.agent import sandbox, visible
from tether.agent.sandbox import Walls

__all__ = ["Offer"]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """inside: the walls with namespaces, None where there are none; outside: those without; `uids_…`: whether attempts there
    may have users of their own; `note`: why not, when the worker wants them to."""

    inside: Walls | None
    outside: Walls
    uids_inside: bool
    uids_outside: bool
    note: str | None

    @classmethod
    def of(cls, config: Mapping[str, Any], code_dir: str | None) -> Offer:
        """Try what the configuration asks for: its `uid` is one of those attempts will get."""
        uid = config.get("uid")
        given = uid is not None and sandbox.may_give(int(uid))
        found = sandbox.probe(uid if given else None)
        why = next(iter(found["why"].values()), "isolation is set to cooperative")
        code = [*visible.interpreter(), *([code_dir] if code_dir else [])]
        unreadable = visible.unreadable(code) if given else None
        passable = [*code, *([config["workspaces"]] if config.get("workspaces") else [])]
        return cls(
            inside=sandbox.behind_namespaces() if found["processes"] == sandbox.ENFORCED else None,
            outside=sandbox.without_namespaces(why),
            uids_inside=given and unreadable is None,
            uids_outside=given and unreadable is None and visible.impassable(passable) is None,
            note=f"other users cannot read {unreadable}: attempts share the worker's (chmod o+rX)" if unreadable else None,
        )

    def chosen(self, isolation: str) -> Walls:
        """The walls of an attempt that asks for `isolation`; raises ValueError when it insists on what there is not."""
        if isolation == "cooperative":
            return self.outside
        if self.inside is not None:
            return self.inside
        if isolation == "enforced":
            raise ValueError("; ".join(dict.fromkeys(self.outside.why.values())))
        return self.outside

    def uids(self, walls: Walls) -> bool:
        """Whether attempts behind these walls may have users of their own."""
        return self.uids_inside if walls is self.inside else self.uids_outside
