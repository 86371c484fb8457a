"""The release of this worker as a number; patch releases understand one another's checkpoints."""

from __future__ import annotations

import tether

__all__ = ["release_number"]


def release_number(version: str = tether.__version__) -> int:
    """1,000 for each major release and 1 for each minor one: 2003 of "2.3.1"."""
    major, minor = version.split(".")[:2]
    return int(major) * 1000 + int("".join(c for c in minor if c.isdigit()) or 0)
