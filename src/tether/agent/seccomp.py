"""The system calls an attempt may not make: ways around its walls, and kernel surface no agent needs."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable
from functools import cache

from tether.agent import syscalls

__all__ = ["available", "install", "prepare"]

_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_X32_BIT = 0x4000_0000
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NR_AT, _ARCH_AT, _ARG_AT = 0, 4, 16

_AF_INET, _AF_INET6, _AF_NETLINK, _SOCK_STREAM, _SOCK_TYPE_MASK = 2, 10, 16, 1, 0xF
_IPPROTO_TCP = 6
_CLONE_NEW_ANY = 0x7E02_0000
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

# name: (x86_64, aarch64); None where the machine has no such call.
_REFUSED: dict[str, tuple[int | None, int]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
}
# Callers fall back to an older call when they hear "no such call": clone3 hides its flags from filters behind a pointer,
# io_uring makes calls no filter sees.
_UNKNOWN = {"clone3": (435, 435), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)}
_SOCKET, _CLONE, _IOCTL = (41, 198), (56, 220), (16, 29)

_Step = tuple[int, int, int, int]


def available() -> str | None:
    """Why filters cannot be installed on this machine, or None."""
    if platform.machine() not in _ARCHITECTURES:
        return f"seccomp filters for {platform.machine()} are not known"
    try:
        syscalls.prctl(_PR_GET_SECCOMP)
    except OSError as error:
        return f"the kernel has no seccomp: {error.strerror}"
    return None


def install(*, only_tcp: bool) -> None:
    """Refuse the calls above to this process and its children for good; `only_tcp`: and every socket but TCP."""
    program = _program(only_tcp=only_tcp)
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    syscalls.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))


def prepare() -> None:
    """Work the filters out now, so that the processes forked from this one need not."""
    if available() is None:
        _program(only_tcp=True)
        _program(only_tcp=False)


@cache
def _program(*, only_tcp: bool) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in _steps(only_tcp))


def _steps(only_tcp: bool) -> list[_Step]:
    machine = platform.machine()
    column = 0 if machine == "x86_64" else 1
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQ, 1, 0, _ARCHITECTURES[machine]),
        _refuse(errno.EPERM),
        (_LOAD, 0, 0, _NR_AT),
    ]
    if machine == "x86_64":
        steps += [(_JUMP_GE, 0, 1, _X32_BIT), _refuse(errno.EPERM)]
    steps += _section(_CLONE[column], [_arg(0), (_JUMP_ANY_BIT, 0, 1, _CLONE_NEW_ANY), _refuse(errno.EPERM)])
    steps += _section(_IOCTL[column], [_arg(1), *_refuse_if_one_of(_TERMINAL_INPUT, errno.EPERM)])
    steps += _section(_SOCKET[column], _socket_steps(only_tcp))
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None and number >= 0:
            steps += [(_JUMP_EQ, 0, 1, number), _refuse(errno.EPERM)]
    for numbers in _UNKNOWN.values():
        steps += [(_JUMP_EQ, 0, 1, numbers[column]), _refuse(errno.ENOSYS)]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _socket_steps(only_tcp: bool) -> list[_Step]:
    """Internet sockets and, unless `only_tcp`, the route netlink that lists interfaces. A path socket would leave the walls."""
    allow: _Step = (_RETURN, 0, 0, _ALLOW)
    # Streams of other protocols (MPTCP, SCTP) are not held by rules on TCP ports.
    protocol = [_arg(2), (_JUMP_EQ, 1, 0, 0), (_JUMP_EQ, 0, 1, _IPPROTO_TCP), allow, _refuse(errno.EACCES)]
    kind: list[_Step] = [_arg(1), (_AND, 0, 0, _SOCK_TYPE_MASK), (_JUMP_EQ, 0, len(protocol), _SOCK_STREAM), *protocol]
    other = _refuse(errno.EACCES) if only_tcp else allow
    internet: list[_Step] = [*kind, other]
    netlink: list[_Step] = [] if only_tcp else [(_JUMP_EQ, 0, 3, _AF_NETLINK), _arg(2), (_JUMP_EQ, 0, 1, 0), allow]
    # Both internet families jump over what follows them to the checks of type and protocol.
    return [
        _arg(0),
        (_JUMP_EQ, len(netlink) + 2, 0, _AF_INET),
        (_JUMP_EQ, len(netlink) + 1, 0, _AF_INET6),
        *netlink,
        _refuse(errno.EACCES),
        *internet,
    ]


def _section(number: int, steps: list[_Step]) -> list[_Step]:
    """Steps for one call; they may change the accumulator, so those that fall through allow."""
    return [(_JUMP_EQ, 0, len(steps) + 1, number), *steps, (_RETURN, 0, 0, _ALLOW)]


def _refuse_if_one_of(values: Iterable[int], code: int) -> list[_Step]:
    return [step for value in values for step in ((_JUMP_EQ, 0, 1, value), _refuse(code))]


def _arg(index: int) -> _Step:
    return (_LOAD, 0, 0, _ARG_AT + 8 * index)


def _refuse(code: int) -> _Step:
    return (_RETURN, 0, 0, _ERRNO | code)
