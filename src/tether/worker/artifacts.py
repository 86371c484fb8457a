"""The files an attempt leaves in its workspace, listed with their hashes; links are not followed, and the listing is bounded."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tether.store.rows import Claim, NewArtifact

__all__ = ["workspace_files"]

_MOST_FILES = 1_000
_MOST_BYTES = 256 * 1024 * 1024
_LARGEST = 64 * 1024 * 1024
_CHUNK = 1 << 20
#: Where cooperative attempts put temporary files.
_TEMPORARY = ".tmp"


def workspace_files(folder: Path, claim: Claim) -> tuple[NewArtifact, ...]:
    """Regular files below `folder` that the task did not bring along, at most 1,000 and 256 MB in all, 64 MB each."""
    found: list[NewArtifact] = []
    left = _MOST_BYTES
    for path in _regular_files(folder):
        name = path.relative_to(folder).as_posix()
        size = path.lstat().st_size
        if name in claim.task.files or size > min(_LARGEST, left):
            continue
        digest = _sha256(path, size)
        if digest is None:
            continue
        left -= size
        kind = mimetypes.guess_type(name)[0]
        found.append(NewArtifact(name=name, size_bytes=size, sha256=digest, url=path.as_uri(), content_type=kind))
        if len(found) == _MOST_FILES:
            break
    return tuple(found)


def _regular_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if name != _TEMPORARY)
        for name in sorted(names):
            path = Path(place, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _sha256(path: Path, most: int) -> str | None:
    """The hash of a file's first `most` bytes, or None when it is a link by now or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    digest = hashlib.sha256()
    with open(fd, "rb") as file:
        while most > 0 and (chunk := file.read(min(_CHUNK, most))):
            digest.update(chunk)
            most -= len(chunk)
    return digest.hexdigest()
