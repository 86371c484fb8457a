"""Keeping the answer of one call as its agent gets it, to be given again to another attempt."""

from __future__ import annotations

from dataclasses import dataclass, field

from tether.gateway.admission import Admission
from tether.store.rows import Recording

__all__ = ["Tape"]

_MOST_BYTES = 4 * 1024 * 1024  # of one answer; a larger one is asked again


@dataclass(kw_only=True, eq=False)
class Tape:
    """The bytes of one answer as the agent gets them. whole: all of it is there."""

    place: str
    content_type: str = "application/json"
    parts: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    whole: bool = False

    def add(self, data: bytes) -> None:
        """Keep it, while it is not too much."""
        self.size += len(data)
        if self.size <= _MOST_BYTES:
            self.parts.append(data)

    def recording(self, admission: Admission, call_id: str) -> Recording | None:
        """What is kept of a finished call, None when it is not whole."""
        if not self.whole or self.size > _MOST_BYTES:
            return None
        return Recording(
            task_id=admission.task_id,
            call_id=call_id,
            attempt=admission.attempt,
            place=self.place,
            content_type=self.content_type,
            body=b"".join(self.parts),
        )
