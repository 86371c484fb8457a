"""One line of `tether doctor`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at and found. status: ok | note | broken; remedy is empty when there is nothing to do."""

    name: str
    status: str
    found: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """The check as JSON."""
        return {"name": self.name, "status": self.status, "found": self.found, "remedy": self.remedy}
