"""A workspace as of a checkpoint: a list of its files by hash, and each content once; only what changed is sent.

An agent may change its files while they are read, and may set traps: directories are opened without following links, only regular
files are read, and a content is hashed from the very copy that is stored.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tether.errors import NotFound, TetherError
from tether.files.objects import Objects

__all__ = ["Saved", "TooLarge", "Workspaces"]

_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20


class TooLarge(TetherError):
    """The workspace passes [files] max_mb or max_files, and was not saved; raise them, or let the agent write less."""

    code = "workspace_too_large"


@dataclass(kw_only=True)
class Saved:
    """What one attempt has saved: file facts -> hash, so that an unchanged file is not read again."""

    hashes: dict[tuple[str, int, int, int], str] = field(default_factory=dict[tuple[str, int, int, int], str])
    stored: set[str] = field(default_factory=set[str])


class Workspaces:
    """Saves and restores workspaces of tasks; at most max_bytes and max_files each."""

    def __init__(self, objects: Objects, *, max_bytes: int, max_files: int) -> None:
        self.objects = objects
        self._max_bytes = max_bytes
        self._max_files = max_files

    def save(self, task_id: str, number: int, folder: Path, before: Saved) -> None:
        """Store the folder as of checkpoint `number`. Raises TooLarge, StoreUnavailable."""
        listing: dict[str, Any] = {}
        left = self._max_bytes
        for found in _walk(folder):
            if len(listing) == self._max_files:
                raise TooLarge(f"the workspace has more than {self._max_files:,} files (files.max_files)")
            if found.link is not None:
                listing[found.name] = {"link": found.link}
                continue
            left -= found.size
            if left < 0:
                raise TooLarge(f"the workspace has more than {self._max_bytes:,} bytes (files.max_mb)")
            listing[found.name] = {"sha256": self._keep(task_id, found, before), "mode": found.mode}
        self.objects.put_document(_listing_key(task_id, number), {"files": listing})

    def restore(self, task_id: str, number: int, folder: Path) -> bool:
        """Make `folder` what it was at checkpoint `number`; False when nothing was saved by then. Raises StoreUnavailable."""
        known = [name for name in self.objects.names(f"tasks/{task_id}/workspace/") if _number(name) <= number]
        if not known:
            return False
        part = folder.with_name(folder.name + ".restored")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        for name, entry in self.objects.document(known[-1])["files"].items():
            self._put_back(task_id, part, name, entry)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return True

    def keep_file(self, task_id: str, path: Path, sha256: str) -> str:
        """Store one file under its hash; its URL. Raises StoreUnavailable, NotFound when it has another content by now."""
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file, _copy(file) as (copy, digest):
            if digest != sha256:
                raise NotFound("file", str(path), "it was changed")
            self._store(task_id, digest, copy)
        return self.objects.url_of(_content_key(task_id, sha256))

    def fetch(self, task_id: str, sha256: str, target: Path) -> None:
        """Write a stored content into a new file. Raises NotFound, StoreUnavailable."""
        self.objects.fetch(_content_key(task_id, sha256), target)

    def forget(self, task_id: str) -> None:
        """Delete everything of a task."""
        self.objects.remove(self.objects.names(f"tasks/{task_id}/"))

    def _keep(self, task_id: str, found: _Found, before: Saved) -> str:
        facts = (found.name, found.size, found.changed_ns, found.inode)
        known = before.hashes.get(facts)
        if known is not None:
            return known
        with found.opened() as file, _copy(file, found.size) as (copy, digest):
            if digest not in before.stored:
                self._store(task_id, digest, copy)
        before.hashes[facts] = digest
        before.stored.add(digest)
        return digest

    def _store(self, task_id: str, sha256: str, copy: IO[bytes]) -> None:
        key = _content_key(task_id, sha256)
        if not self.objects.has(key):
            self.objects.put(key, copy)

    def _put_back(self, task_id: str, folder: Path, name: str, entry: dict[str, Any]) -> None:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise NotFound("file", name, "the saved listing is not one of ours")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.resolve() != folder.resolve() / place.parent:
            raise NotFound("file", name, "the saved listing leads out of the workspace")
        if "link" in entry:
            target.symlink_to(entry["link"])
            return
        self.objects.fetch(_content_key(task_id, entry["sha256"]), target)
        target.chmod(0o600 | (entry["mode"] & 0o777))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A file below an open directory; valid while the walk stands there."""

    name: str
    link: str | None
    size: int
    mode: int
    changed_ns: int
    inode: int
    directory: int

    def opened(self) -> IO[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return open(os.open(PurePosixPath(self.name).name, flags, dir_fd=self.directory), "rb")


def _walk(folder: Path) -> Iterator[_Found]:
    for place, _folders, names, directory in os.fwalk(folder, follow_symlinks=False):
        for name in sorted([*names, *(n for n in _folders if os.path.islink(os.path.join(place, n)))]):
            try:
                facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
                link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(facts.st_mode) else None
            except FileNotFoundError:
                continue  # gone since it was listed
            if link is None and not stat.S_ISREG(facts.st_mode):
                continue
            yield _Found(
                name=(PurePosixPath(place) / name).relative_to(folder).as_posix(),
                link=link,
                size=facts.st_size,
                mode=stat.S_IMODE(facts.st_mode),
                changed_ns=facts.st_ctime_ns,
                inode=facts.st_ino,
                directory=directory,
            )


@contextmanager
def _copy(file: IO[bytes], most: int = 1 << 40) -> Generator[tuple[IO[bytes], str]]:
    """A private copy of an open file's content (at most `most` bytes), rewound, and its hash."""
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        while most > 0 and (chunk := file.read(min(_CHUNK, most))):
            digest.update(chunk)
            copy.write(chunk)
            most -= len(chunk)
        copy.seek(0)
        yield cast("IO[bytes]", copy), digest.hexdigest()


def _listing_key(task_id: str, number: int) -> str:
    return f"tasks/{task_id}/workspace/{number:08d}.json"


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))


def _content_key(task_id: str, sha256: str) -> str:
    return f"tasks/{task_id}/content/{sha256}"
