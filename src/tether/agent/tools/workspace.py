"""Files of the workspace and none other: paths are walked component by component, and no link on the way is followed.

Checking a path first and opening it later would leave a gap for a link to be put there; the open descriptors leave none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from tether.agent.tools.arguments import ToolProblem

__all__ = ["inside", "open_for_reading", "open_for_writing", "open_folder"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def inside(workspace: Path, path: str) -> tuple[str, ...]:
    """The components of `path` below the workspace; raises ToolProblem for one that leads out."""
    pure = PurePosixPath(path.strip() or ".")
    if pure.is_absolute():
        with contextlib.suppress(ValueError):
            pure = pure.relative_to(workspace)
    if pure.is_absolute() or ".." in pure.parts:
        raise ToolProblem(f"{path} is outside the workspace; use a path like notes/plan.txt")
    return pure.parts


@contextlib.contextmanager
def open_folder(workspace: Path, parts: tuple[str, ...], *, make: bool = False) -> Generator[int]:
    """A descriptor of the folder `parts` of the workspace; `make` creates what is missing."""
    at = os.open(workspace, _FOLDER)
    try:
        for depth, part in enumerate(parts):
            with _clear_errors(parts[: depth + 1]):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o777, dir_fd=at)
                below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


@contextlib.contextmanager
def open_for_reading(workspace: Path, path: str) -> Generator[int]:
    """A descriptor of a plain file of the workspace."""
    # A pipe would wait for a writer, hence O_NONBLOCK; what is no plain file is then refused.
    with _opened(workspace, path, os.O_RDONLY | os.O_NONBLOCK, make=False) as fd:
        yield fd


@contextlib.contextmanager
def open_for_writing(workspace: Path, path: str) -> Generator[int]:
    """A descriptor of a plain file of the workspace, emptied; its folders are made."""
    with _opened(workspace, path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, make=True) as fd:
        os.ftruncate(fd, 0)
        yield fd


@contextlib.contextmanager
def _opened(workspace: Path, path: str, flags: int, *, make: bool) -> Generator[int]:
    parts = inside(workspace, path)
    if not parts:
        raise ToolProblem(f"{path} is a folder; name a file in it")
    with open_folder(workspace, parts[:-1], make=make) as folder, _clear_errors(parts):
        fd = os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ToolProblem(f"{path} is not a plain file")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _clear_errors(parts: tuple[str, ...]) -> Generator[None]:
    name = "/".join(parts)
    try:
        yield
    except FileNotFoundError:
        raise ToolProblem(f"there is no {name}; use list_files to see what there is") from None
    except OSError as error:
        said = {
            errno.ELOOP: "is a link, and links are not followed",
            errno.ENOTDIR: "is not a folder, or is a link",
            errno.EISDIR: "is a folder",
            errno.ENXIO: "is not a plain file",
            errno.ENAMETOOLONG: "is too long a name",
        }.get(error.errno or 0, f"cannot be opened ({error.strerror})")
        raise ToolProblem(f"{name} {said}") from None
