"""The Linux calls Python 3.11 has no name for; each raises OSError with the errno of the kernel.

Everything here is called in single-threaded processes between fork and the agent's first line.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import struct
from fcntl import ioctl
from typing import Any

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "arm_kill_timer",
    "attach_tree",
    "become_subreaper",
    "call",
    "clone",
    "clone_tree",
    "die_with_parent",
    "drop_capabilities",
    "loopback_up",
    "mount",
    "move_to_root",
    "prctl",
    "set_attributes",
    "set_dumpable",
    "supported",
]

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4

_CHILD_CLEARTID, _CHILD_SETTID = 0x0020_0000, 0x0100_0000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_SUBREAPER = 1, 4, 24, 36
_PR_SET_NO_NEW_PRIVS, _PR_GET_TID_ADDRESS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 40, 47, 4
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _MOVE_MOUNT_F_EMPTY_PATH, _MNT_DETACH = 1, os.O_CLOEXEC, 4, 2
_CLOCK_MONOTONIC, _SIGEV_SIGNAL = 1, 0
_LAST_CAPABILITY = 63

# Calls since 5.0 have one number on every architecture; the older ones are here per machine.
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "timer_create": 222, "timer_settime": 223},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "timer_create": 107, "timer_settime": 110},
}
_EVERYWHERE = {
    "open_tree": 428,
    "move_mount": 429,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
_MACHINE = platform.machine()
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# PyDLL keeps the interpreter lock: a child of a raw clone must not come back to a lock nobody will release.
_pylibc = ctypes.PyDLL(None, use_errno=True)
_pylibc.syscall.restype = ctypes.c_long


def supported() -> str | None:
    """Why the calls of this module cannot be used on this machine, or None."""
    if platform.system() != "Linux":
        return f"{platform.system()} is not Linux"
    if _MACHINE not in _NUMBERS:
        return f"system call numbers of {_MACHINE} are not known"
    return None


def _number(name: str) -> int:
    return _EVERYWHERE[name] if name in _EVERYWHERE else _NUMBERS[_MACHINE][name]


def _checked(result: int, what: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")
    return result


def call(name: str, *args: Any) -> int:
    """One raw system call by name; integers are passed as longs."""
    passed = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(_libc.syscall(ctypes.c_long(_number(name)), *passed), name)


def prctl(option: int, *args: int) -> int:
    """prctl(2) with up to four arguments."""
    padded = [ctypes.c_ulong(arg) for arg in (*args, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *padded), f"prctl({option})")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Signal this process when the thread that forked it ends; a change of uid forgets it, so call it after one."""
    prctl(_PR_SET_PDEATHSIG, number)


def set_dumpable(dumpable: bool) -> None:
    """Whether others of the same uid may open this process's /proc files and attach to it."""
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def become_subreaper() -> None:
    """Orphans below this process become its children instead of the host's init's."""
    prctl(_PR_SET_SUBREAPER, 1)


def clone(flags: int) -> int:
    """os.fork() into new namespaces: 0 in the child, the child's pid here. The caller must be single-threaded."""
    machine_args = _clone_args(flags)
    number = ctypes.c_long(_number("clone"))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _pylibc.syscall(number, *machine_args)
    errno = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(errno, f"clone: {os.strerror(errno)}")
    return int(pid)


def _clone_args(flags: int) -> list[ctypes.c_long]:
    # The C library caches the thread id; the kernel writes the child's own over it, as fork() would have asked it to.
    tid_address = ctypes.c_ulong(0)
    known = _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0) == 0
    if known and tid_address.value:
        flags |= _CHILD_SETTID | _CHILD_CLEARTID
    tid, tls = ctypes.c_long(tid_address.value), ctypes.c_long(0)
    last = [tls, tid] if _MACHINE == "aarch64" else [tid, tls]
    return [ctypes.c_long(flags | signal.SIGCHLD), ctypes.c_long(0), ctypes.c_long(0), *last]


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    kind_bytes = kind.encode() if kind else None
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind_bytes, ctypes.c_ulong(flags), data.encode() or None)
    _checked(result, f"mount {kind or ''} on {target}")


def clone_tree(path: str) -> int:
    """A descriptor of a private copy of the mounts at `path` and below, attached nowhere yet."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return call("open_tree", _AT_FDCWD, os.fsencode(path), flags)


def set_attributes(tree: int, add: int) -> None:
    """Add mount attributes to every mount of a tree from `clone_tree`, and let no mount of the host appear in it later."""
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", add, 0, MS_PRIVATE, 0))
    call("mount_setattr", tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, 32)


def attach_tree(tree: int, target: str) -> None:
    """Put a tree from `clone_tree` at `target`."""
    call("move_mount", tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def move_to_root() -> None:
    """Make the mount at the current directory the root, and let go of the old root and everything in it."""
    call("pivot_root", b".", b".")
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def loopback_up() -> None:
    """Bring the loopback interface of this network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


def drop_capabilities() -> None:
    """Give up every capability for good, and the way to gain any by executing a program."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x2008_0522, 0))
    call("capset", header, ctypes.create_string_buffer(24))
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def arm_kill_timer(seconds: float) -> None:
    """SIGKILL this process `seconds` from now, by the kernel: needs no scheduling of ours. Executing a program disarms it."""
    event = ctypes.create_string_buffer(struct.pack("=qii48x", 0, signal.SIGKILL, _SIGEV_SIGNAL))
    timer = ctypes.c_int(0)
    call("timer_create", _CLOCK_MONOTONIC, event, ctypes.byref(timer))
    whole = int(seconds)
    # A value of zero would disarm instead of firing at once.
    nanos = max(1, int((seconds - whole) * 1e9))
    value = ctypes.create_string_buffer(struct.pack("=qqqq", 0, 0, whole, nanos))
    call("timer_settime", timer.value, 0, value, None)
