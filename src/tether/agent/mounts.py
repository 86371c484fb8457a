"""A root of its own for an attempt: an empty memory file system with only the visible paths in it, read-only but for a few.

The copies of the visible trees are made first, while paths of the host still mean something, and by root before the new
namespaces: only root of the host may pass every folder above them. Afterwards only descriptors are used.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from tether.agent import syscalls
from tether.agent.visible import ETC, Visible

__all__ = ["Copies", "build_root", "copy_visible", "fresh_proc"]

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_SMALL_FILES = {
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "resolv.conf": "# names are resolved by the proxy\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n",
}
# Every visible place that is staged over this one is gone from view before the agent starts, and it exists everywhere.
_STAGE = "/proc"
_BLANK = "/.blank"
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Descriptors of copied trees and the paths they belong at, parents first; what is hidden has none."""

    trees: tuple[tuple[str, int | None], ...]
    links: tuple[tuple[str, str], ...]

    def close(self) -> None:
        """Let go of the descriptors."""
        for _, tree in self.trees:
            if tree is not None:
                os.close(tree)


def copy_visible(visible: Visible) -> Copies:
    """Copy every visible tree; needs CAP_SYS_ADMIN over the mount namespace. Raises OSError with the path."""
    read_only = syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV
    writable = syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV
    links = [(path, os.readlink(path)) for path in visible.read if os.path.islink(path) and path.count("/") == 1]
    linked = {path for path, _ in links}
    found: dict[str, int | None] = dict.fromkeys(visible.hidden)
    for path in [*visible.read, *(each for each in ETC if os.path.exists(each))]:
        if path not in linked:
            found[path] = _copy(path, read_only)
    for path in visible.write:
        found[path] = _copy(path, writable)
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            found[f"/dev/{name}"] = _copy(f"/dev/{name}", syscalls.ATTR_NOSUID)
    return Copies(trees=tuple(sorted(found.items(), key=lambda item: item[0].count("/"))), links=tuple(links))


def build_root(copies: Copies, *, memory_bytes: int, user: tuple[int, int, str]) -> str | None:
    """Move into a new root made of the copies; returns why /proc is missing, or None. user: uid, gid and home."""
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tether", _STAGE, "tmpfs", _FLAGS, "size=1m,nr_inodes=4096,mode=755")
    os.chdir(_STAGE)
    _lay_out(memory_bytes, user)
    for path, target in copies.links:
        os.symlink(target, "." + path)
    for path, tree in copies.trees:
        _place(path, tree)
    missing = _proc("./proc")
    syscalls.move_to_root()
    syscalls.mount("none", "/", None, syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _FLAGS, "")
    return missing


def fresh_proc() -> None:
    """Show only the processes of this PID namespace in /proc; for a process in a mount namespace of its own."""
    _proc("/proc")


def _copy(path: str, attributes: int) -> int:
    try:
        tree = syscalls.clone_tree(path)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    syscalls.set_attributes(tree, attributes)
    return tree


def _lay_out(memory_bytes: int, user: tuple[int, int, str]) -> None:
    for name in ("etc", "dev", "proc", "tmp", "run"):
        os.mkdir(name)
    os.mkdir("dev/shm")
    for name, size in (("tmp", memory_bytes), ("dev/shm", memory_bytes), ("run", 1 << 24)):
        syscalls.mount("tether", name, "tmpfs", _FLAGS, f"size={size},nr_inodes=100000,mode=1777")
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"dev/{name}")
    uid, gid, home = user
    account = f"agent:x:{uid}:{gid}::{home}:/bin/sh\n" if uid else ""
    files = _SMALL_FILES | {
        "passwd": f"root:x:0:0::{home}:/bin/sh\n{account}nobody:x:65534:65534::/:/bin/false\n",
        "group": "root:x:0:\n" + (f"agent:x:{gid}:\n" if gid else "") + "nogroup:x:65534:\n",
    }
    for name, text in files.items():
        _write(f"etc/{name}", text)
    _write("." + _BLANK, "")


def _place(path: str, tree: int | None) -> None:
    target = "." + path
    if tree is None:
        _hide(target)
        return
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _make_like(target, tree)
    _attach(tree, target)


def _hide(target: str) -> None:
    if os.path.isdir(target):
        # Writable for whoever sets up the root: a workspace may lie inside a hidden folder and needs its mount point.
        syscalls.mount("tether", target, "tmpfs", _FLAGS, "size=64k,nr_inodes=256,mode=755")
    elif os.path.exists(target):
        blank = syscalls.clone_tree("." + _BLANK)
        syscalls.set_attributes(blank, syscalls.ATTR_RDONLY)
        _attach(blank, target)


def _attach(tree: int, target: str) -> None:
    try:
        syscalls.attach_tree(tree, target)
    finally:
        os.close(tree)


def _make_like(target: str, tree: int) -> None:
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.mkdir(target)
    else:
        _write(target, "")


def _proc(target: str) -> str | None:
    flags = _FLAGS | syscalls.MS_NOEXEC | syscalls.MS_RDONLY
    try:
        syscalls.mount("proc", target, "proc", flags)
    except OSError as error:
        # Containers that mask parts of /proc are not allowed a fresh one.
        return f"/proc is empty: {error.strerror}"
    return None


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
