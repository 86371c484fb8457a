"""Which files an attempt may see: its workspace, its code, the interpreter and the system's libraries, nothing else."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

__all__ = ["ETC", "Visible", "around", "beneath", "impassable", "interpreter", "unreadable", "unseen"]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
ETC = (
    "/etc/ld.so.cache",
    # Not the folders above these: private keys are kept beside the certificates.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/protocols",
    "/etc/services",
)
# Configuration and secrets that live beside code by custom.
_SECRETS = ("tether.toml", ".env")


@dataclass(frozen=True, kw_only=True)
class Visible:
    """Absolute paths: read and write hold for everything below; what is hidden is so even inside them."""

    read: tuple[str, ...]
    write: tuple[str, ...]
    hidden: tuple[str, ...]


def around(
    *, code_dir: str | None, workspace: str, readable: Sequence[str], writable: Sequence[str], hidden: Sequence[str]
) -> Visible:
    """What an attempt with this code, workspace and configured paths may see; paths that do not exist are left out."""
    write = _outermost(_existing([workspace, *writable]))
    read = _outermost(_always(code_dir) | _existing(readable))
    masked = _outermost(_existing([*hidden, *_custom_secrets(code_dir, write)]))
    return Visible(
        read=tuple(path for path in read if not _inside_any(path, write)),
        write=tuple(write),
        hidden=tuple(path for path in masked if _inside_any(path, [*read, *write]) and path not in write),
    )


@cache
def _always(code_dir: str | None) -> frozenset[str]:
    """What every attempt of a zygote may read; looked up once, because it is asked for at every start."""
    return frozenset(_existing([*SYSTEM, *interpreter(), _package(), *([code_dir] if code_dir else [])]))


def interpreter() -> list[str]:
    """Where this interpreter, its standard library and its packages are."""
    roots = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    roots += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # A virtual environment's python is a chain of links: every link of it must be found inside.
    hop = sys.executable
    while hop and os.path.islink(hop):
        hop = os.path.normpath(os.path.join(os.path.dirname(hop), os.readlink(hop)))
        roots.append(hop)
    # An interpreter at the root of the file system would make everything readable.
    return [root for root in roots if root and os.path.normpath(root) != "/"]


def unseen(code_dir: str | None, readable: Iterable[str]) -> list[str]:
    """Folders this process finds modules in that its attempts cannot read, as when a .pth file names a folder elsewhere."""
    seen = [*_always(code_dir), *_existing(readable)]
    # Our own package is readable, whatever folder it is in.
    found = _existing(path for path in sys.path if path) - {os.path.dirname(_package())}
    # An editable installation may have a finder of its own instead of a folder in the path.
    files = [
        getattr(module, "__file__", None)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == name != "tether"
    ]
    for file in filter(os.path.isabs, (file for file in files if isinstance(file, str))):
        found.add(os.path.dirname(os.path.dirname(file) if os.path.basename(file).startswith("__init__.") else file))
    return _outermost(path for path in found if os.path.isdir(path) and not _inside_any(path, seen))


def unreadable(paths: Iterable[str]) -> str | None:
    """The first path that a user who does not own it cannot read, or None; the folders above are not looked at."""
    for path in paths:
        mode = os.stat(path).st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & needed != needed:
            return path
    return None


def impassable(paths: Iterable[str]) -> str | None:
    """The first folder on the way to one of the paths, or such a path itself, that a user who does not own it cannot pass."""
    for path in map(os.path.abspath, paths):
        for part in _parts(path):
            mode = os.stat(part).st_mode
            if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
                return part
    return None


def beneath(path: str, root: str) -> bool:
    """Whether a normalised path is `root` or lies below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _custom_secrets(code_dir: str | None, write: Sequence[str]) -> list[str]:
    if code_dir is None or _inside_any(os.path.normpath(code_dir), write):
        return []
    return [os.path.join(code_dir, name) for name in os.listdir(code_dir) if name in _SECRETS or name.startswith(".env.")]


def _parts(path: str) -> list[str]:
    parts = [path]
    while parts[-1] != "/":
        parts.append(os.path.dirname(parts[-1]))
    return parts[::-1]


def _inside_any(path: str, roots: Iterable[str]) -> bool:
    return any(beneath(path, root) for root in roots)


def _existing(paths: Iterable[str]) -> set[str]:
    """The paths that exist, and what they are links to."""
    found: set[str] = set()
    for path in map(os.path.abspath, paths):
        if os.path.exists(path):
            found |= {path, os.path.realpath(path)}
    return found


def _outermost(paths: Iterable[str]) -> list[str]:
    """The paths without those that lie below another of them; parents first."""
    kept: list[str] = []
    for path in sorted(paths, key=lambda each: (each.count("/"), each)):
        if not _inside_any(path, kept):
            kept.append(path)
    return kept
