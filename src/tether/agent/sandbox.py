"""The three walls of an attempt (files, processes, network): what this machine allows, and how a process gets behind them.

Namespaces hold all three. Where the kernel refuses them, Landlock still holds the files, and the other two are
cooperative: the tree is found by walking it, and only good manners keep an agent from dialling out.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tether.agent import landlock, limits, mounts, seccomp, syscalls
from tether.agent.visible import Visible, interpreter

__all__ = ["Ids", "Walls", "behind_namespaces", "copies_by_root", "enter", "may_give", "open_listeners", "probe", "write_maps"]

ENFORCED, COOPERATIVE = "enforced", "cooperative"
NAMESPACES = (
    syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWUTS
)
GATEWAY_PORT, PROXY_PORT = 8080, 8081
_BACKLOG = 128
_PROBE_S = 5.0
_CAPABILITIES = (0, 6, 7)  # CHOWN, SETGID, SETUID
_ALLOW = (
    "allow user namespaces for the worker (sysctl user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns; "
    "in a container a seccomp profile that permits unshare and mount)"
)
_REMEDY = {"files": f"{_ALLOW}, or use a kernel with Landlock 3 (Linux 6.2)", "processes": _ALLOW, "network": _ALLOW}


@dataclass(frozen=True, kw_only=True)
class Walls:
    """Each wall enforced or cooperative; `why` says, per wall that is cooperative, what is missing."""

    files: str
    processes: str
    network: str
    why: Mapping[str, str] = field(default_factory=dict[str, str])

    def document(self) -> dict[str, Any]:
        """As packets and the journal carry it."""
        return {"files": self.files, "processes": self.processes, "network": self.network, "why": dict(self.why)}


@dataclass(frozen=True, kw_only=True)
class Ids:
    """The user and group of an attempt as the host counts them; `own`: nobody else has them, `by_root`: root gives them."""

    uid: int
    gid: int
    own: bool
    by_root: bool

    @classmethod
    def of(cls, uid: int | None) -> Ids:
        """The ids for an attempt that was given `uid`, or those of this process."""
        by_root = os.geteuid() == 0
        if uid is None:
            return cls(uid=os.geteuid(), gid=os.getegid(), own=False, by_root=by_root)
        return cls(uid=uid, gid=uid, own=True, by_root=by_root)


def behind_namespaces() -> Walls:
    """The walls of an attempt in namespaces of its own."""
    return Walls(files=ENFORCED, processes=ENFORCED, network=ENFORCED)


def without_namespaces(problem: str) -> Walls:
    """The walls of an attempt that has no namespaces, because of `problem`."""
    why = {"processes": problem, "network": problem}
    version = landlock.abi()
    if version >= landlock.FILES_ABI:
        return Walls(files=ENFORCED, processes=COOPERATIVE, network=COOPERATIVE, why=why)
    lacking = f"Landlock {version} cannot refuse truncation" if version else "the kernel has no Landlock"
    return Walls(files=COOPERATIVE, processes=COOPERATIVE, network=COOPERATIVE, why={"files": f"{lacking}; {problem}", **why})


def may_give(uid: int) -> bool:
    """Whether this process may give that user to another: it is root, with the capabilities for it, and the user exists here."""
    status = _read("/proc/self/status")
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    mapped = all(_is_mapped(uid, _read(f"/proc/self/{name}_map")) for name in ("uid", "gid"))
    return os.geteuid() == 0 and mapped and all(held >> capability & 1 for capability in _CAPABILITIES)


def probe(uid: int | None = None) -> dict[str, Any]:
    """What walls an attempt (of host user `uid`, when root) gets on this machine, tried for real."""
    problem = _why_no_namespaces(uid)
    walls = behind_namespaces() if problem is None else without_namespaces(problem)
    remedy = {wall: _REMEDY[wall] for wall in walls.why}
    return {**walls.document(), "remedy": remedy, "landlock": landlock.abi(), "seccomp": seccomp.available() is None}


def write_maps(process: int | str, ids: Ids) -> None:
    """Give a process in a new user namespace its one user and group, of the same numbers as outside."""
    if not ids.by_root:
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/gid_map", f"{ids.gid} {ids.gid} 1")
    _write(f"/proc/{process}/uid_map", f"{ids.uid} {ids.uid} 1")


def copies_by_root(visible: Visible, ids: Ids) -> mounts.Copies | None:
    """Before new namespaces: copies of what the attempt will see, if this is root and may make them; else the attempt does."""
    if not ids.by_root:
        return None
    try:
        return mounts.copy_visible(visible)
    except PermissionError:
        return None


def enter(visible: Visible, copies: mounts.Copies | None, ids: Ids, told: int, *, memory_bytes: int, home: str) -> list[str]:
    """In the first process of new namespaces: take the ids, die with the parent, see only what is visible, bring loopback up.

    told: a pipe on which the parent says that it wrote the maps (when it is root). Returns notes for the journal.
    """
    limits.first_to_be_killed()
    if not ids.by_root:
        # A parent that hides its memory has children whose maps belong to root; nothing secret is in this one yet.
        syscalls.set_dumpable(True)
        write_maps("self", ids)
    elif os.read(told, 1) != b"+":
        os._exit(71)
    copies = copies or mounts.copy_visible(visible)
    take(ids)
    notes = mounts.build_root(copies, memory_bytes=memory_bytes, user=(ids.uid, ids.gid, home))
    syscalls.set_dumpable(False)
    socket.sethostname("tether")
    syscalls.loopback_up()
    return [notes] if notes else []


def take(ids: Ids) -> None:
    """Become the user of the attempt and ask to die with the parent, in this order: a change of user forgets the second."""
    if ids.own:
        os.setgroups([])
        os.setresgid(ids.gid, ids.gid, ids.gid)
        os.setresuid(ids.uid, ids.uid, ids.uid)
    syscalls.die_with_parent()


def open_listeners() -> list[socket.socket]:
    """The listeners for the gateway and the proxy, inside this network namespace."""
    return [socket.create_server(("127.0.0.1", port), backlog=_BACKLOG) for port in (GATEWAY_PORT, PROXY_PORT)]


def _why_no_namespaces(uid: int | None) -> str | None:
    """Go through everything an attempt in namespaces does, in a process that then leaves; what refused, or None."""
    lacking = syscalls.supported() or seccomp.available()
    if lacking is not None:
        return lacking
    ids = Ids.of(uid if os.geteuid() == 0 else None)
    visible = Visible(read=("/usr", *interpreter()), write=(), hidden=())
    copies = copies_by_root(visible, ids)
    answer, report = os.pipe()
    told, tell = os.pipe()
    try:
        try:
            child = syscalls.clone(NAMESPACES)
        except OSError as error:
            return f"the kernel refused new namespaces ({error.strerror or error})"
        if child == 0:
            _rehearse(visible, copies, ids, told, report)
        os.close(report)
        report = -1
        return _rehearsed(child, ids, tell, answer)
    finally:
        for fd in (answer, told, tell, report):
            if fd >= 0:
                os.close(fd)
        if copies is not None:
            copies.close()


def _rehearse(visible: Visible, copies: mounts.Copies | None, ids: Ids, told: int, report: int) -> None:
    try:
        enter(visible, copies, ids, told, memory_bytes=1 << 20, home="/")
        open_listeners()
        os.write(report, b"+")
    except BaseException as error:
        os.write(report, str(error).encode()[:500])
    finally:
        os._exit(0)


def _rehearsed(child: int, ids: Ids, tell: int, answer: int) -> str | None:
    try:
        if ids.by_root:
            write_maps(child, ids)
            os.write(tell, b"+")
        said = os.read(answer, 512) if select.select([answer], [], [], _PROBE_S)[0] else b""
    except OSError as error:
        said = str(error).encode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return None if said == b"+" else f"setting up namespaces failed: {said.decode(errors='replace') or 'it took too long'}"


def _is_mapped(number: int, table: str) -> bool:
    rows = (tuple(map(int, line.split())) for line in table.splitlines())
    return any(first <= number < first + count for first, _, count in rows)


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
