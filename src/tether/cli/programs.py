"""What a program of the user's needs to start behind walls: its interpreter's folders and a few variables. Reads files only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["PASSED", "folders_of", "variables_of"]

#: Variables that say where programs are and how to write; none of them is a secret.
PASSED = (
    "PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "NODE_PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "NO_COLOR",
)
_MOST_LINKS = 16


def variables_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the shell that every program may have."""
    return {name: environ[name] for name in PASSED if environ.get(name)}


def folders_of(program: str, environ: Mapping[str, str]) -> list[str]:
    """What must be readable for `program` to start: its installation, that of its interpreter, and all of PATH."""
    home = Path(environ.get("HOME") or "/nonexistent")
    found: dict[str, None] = {}
    for path in _starting(program, environ):
        found |= dict.fromkeys(_installation(path, home))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(name):
            found |= dict.fromkeys(_environment(Path(environ[name])))
    for name in ("PYTHONPATH", "NODE_PATH", "PATH"):
        folders = [part for part in environ.get(name, "").split(os.pathsep) if part and os.path.isdir(part)]
        found |= dict.fromkeys(os.path.dirname(part) if os.path.basename(part) == "shims" else part for part in folders)
    closed = {"/", "", str(home)}
    return [path for path in map(os.path.abspath, found) if path not in closed]


def _starting(program: str, environ: Mapping[str, str], depth: int = 3) -> Iterator[Path]:
    """The program's file, every file it is a link to, and the same of the interpreter its first line names."""
    where = shutil.which(program, path=environ.get("PATH"))
    if where is None or depth == 0:
        return
    hop = Path(os.path.abspath(where))
    for _ in range(_MOST_LINKS):
        yield hop
        if not hop.is_symlink():
            break
        hop = Path(os.path.normpath(hop.parent / os.readlink(hop)))
    for word in _first_line(hop):
        yield from _starting(word, environ, depth - 1)


def _first_line(path: Path) -> list[str]:
    """The interpreter of a script: with `#!/usr/bin/env NAME` that name too."""
    try:
        with path.open("rb") as file:
            line = file.readline(500) if file.read(2) == b"#!" else b""
    except OSError:
        return []
    words = line.decode(errors="replace").split()
    named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[:1] + (named[:1] if words[:1] and words[0].endswith("/env") else [])


def _installation(path: Path, home: Path) -> list[str]:
    """The file, and what it is installed with, when that is a folder of its own and not the user's."""
    root = path.parent.parent
    if path.parent.name == "shims":  # pyenv, rbenv, asdf: the shim looks for the program in the folder it belongs to
        return [str(root)]
    alone = root in (Path("/"), home, home / ".local") or path.parent.name not in ("bin", "Scripts")
    if alone or not ((root / "lib").is_dir() or (root / "pyvenv.cfg").is_file()):
        return [str(path)]
    return _environment(root)


def _environment(root: Path) -> list[str]:
    """A folder of programs; a virtual environment with the interpreter it was made from."""
    found = [str(root)]
    try:
        lines = (root / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return found
    base = next((line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "home"), "")
    if base:
        made_from = Path(base).parent
        found += [str(made_from), os.path.realpath(made_from), str(Path(os.path.realpath(Path(base) / "python3")).parent.parent)]
    return found
