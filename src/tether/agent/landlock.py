"""Landlock: what files a process and its children may touch, without privileges and for good."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from functools import cache

from tether.agent import syscalls

__all__ = ["FILES_ABI", "abi", "new_rules", "permit", "permit_connect", "restrict"]

#: From this version on every way to change a file's content is covered (truncation came last).
FILES_ABI = 3
_NET_ABI, _SCOPE_ABI = 4, 6

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2
_RULE_PATH, _RULE_PORT = 1, 2
_VERSION_FLAG = 1


@cache
def abi() -> int:
    """The version of Landlock the kernel offers; 0 when it has none or it is off."""
    if syscalls.supported() is not None:
        return 0
    try:
        return syscalls.call("landlock_create_ruleset", 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


def _all_file_rights() -> int:
    rights = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if abi() >= since:
            rights |= right
    return rights


def new_rules(*, network: bool, bind: bool) -> int:
    """A descriptor of rules that refuse every file; `network`: and every TCP port (with `bind`, only connecting is refused)."""
    net = 0
    if network and abi() >= _NET_ABI:
        net = _CONNECT_TCP if bind else _CONNECT_TCP | _BIND_TCP
    scoped = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if abi() >= _SCOPE_ABI else 0
    fields = [_all_file_rights()]
    if abi() >= _NET_ABI:
        fields.append(net)
    if abi() >= _SCOPE_ABI:
        fields.append(scoped)
    attributes = ctypes.create_string_buffer(struct.pack(f"={len(fields)}Q", *fields))
    return syscalls.call("landlock_create_ruleset", attributes, 8 * len(fields), 0)


def permit(rules: int, paths: Iterable[str], *, write: bool) -> None:
    """Allow reading and executing (with `write`, everything) at and below each path; paths that do not exist are passed over."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            _permit_one(rules, path, _all_file_rights() if write else _READ)


def permit_listing(rules: int, path: str) -> None:
    """Allow listing the folder at `path` and those below it, and nothing else."""
    _permit_one(rules, path, _READ_DIR)


def permit_connect(rules: int, ports: Iterable[int]) -> None:
    """Allow TCP connections to these port numbers, on any host: Landlock knows no addresses."""
    if abi() < _NET_ABI:
        return
    for port in ports:
        rule = ctypes.create_string_buffer(struct.pack("=QQ", _CONNECT_TCP, port))
        syscalls.call("landlock_add_rule", rules, _RULE_PORT, rule, 0)


def restrict(rules: int) -> None:
    """Put this process and all its future children under the rules; needs no_new_privs."""
    syscalls.call("landlock_restrict_self", rules, 0)


def _permit_one(rules: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights & _all_file_rights(), fd))
        syscalls.call("landlock_add_rule", rules, _RULE_PATH, rule, 0)
    finally:
        os.close(fd)
