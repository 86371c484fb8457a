"""JSON packets over SOCK_SEQPACKET: how agent, init, zygote, gateway and supervisor talk. Standard library only.

One packet is one JSON object of at most INLINE bytes. A larger one is {"big": bytes} with one sealed memfd that holds
the JSON (at most LARGEST bytes); sealed, so the sender cannot change or shrink it under the reader.
The kernel frames the packets, so a killed writer leaves no half packet and end of file is the notice of its death.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from array import array
from collections.abc import Sequence
from typing import Any

__all__ = ["INLINE", "LARGEST", "LinkClosed", "PacketError", "pair", "receive", "send"]

INLINE = 64_000
LARGEST = 16 * 1024 * 1024
_MOST_FDS = 16
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034


class PacketError(Exception):
    """The packet is not acceptable: not JSON, not an object, too large, or its memfd is not sealed."""


class LinkClosed(Exception):
    """The other end is gone."""


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets for packets, close-on-exec, blocking."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, packet: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one packet with file descriptors; raises BlockingIOError when the socket is full, LinkClosed, PacketError."""
    body = _encode(packet)
    if len(body) <= INLINE:
        _sendmsg(sock, body, fds)
        return
    if len(body) > LARGEST:
        raise PacketError(f"a packet of {len(body):,} bytes is over {LARGEST:,}; keep it in a file of the workspace")
    memfd = _sealed(body)
    try:
        _sendmsg(sock, b'{"big":%d}' % len(body), [memfd, *fds])
    finally:
        os.close(memfd)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One packet and its descriptors (the caller closes them), None at end of file; raises BlockingIOError, PacketError."""
    try:
        body, fds, flags = _recvmsg(sock)
    except (ConnectionResetError, BrokenPipeError):
        return None
    if not body and not fds:
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise PacketError("a packet was cut")
        packet = _parse(body)
        if set(packet) == {"big"}:
            memfd = fds.pop(0) if fds else -1
            packet = _parse(_unsealed(memfd))
    except PacketError:
        for fd in fds:
            os.close(fd)
        raise
    return packet, fds


def _sendmsg(sock: socket.socket, body: bytes, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    try:
        sock.sendmsg([body], rights, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError) as error:
        raise LinkClosed(str(error)) from None


def _recvmsg(sock: socket.socket) -> tuple[bytes, list[int], int]:
    # Not socket.recv_fds: it drops its flags argument, so what it receives would leak into every program executed later.
    space = socket.CMSG_SPACE(_MOST_FDS * array("i").itemsize)
    body, rights, flags, _ = sock.recvmsg(INLINE + 1024, space, socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return body, list(fds), flags


def _encode(packet: dict[str, Any]) -> bytes:
    try:
        return json.dumps(packet, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise PacketError(f"cannot be said in JSON: {error}") from None


def _parse(body: bytes) -> dict[str, Any]:
    try:
        packet = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PacketError(f"not JSON: {error}") from None
    if not isinstance(packet, dict):
        raise PacketError("not a JSON object")
    return packet


def _sealed(body: bytes) -> int:
    memfd = os.memfd_create("packet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, memfd)
        view = memoryview(body)
        while view:
            view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, _F_ADD_SEALS, _SEALS)
        undo.pop_all()
    return memfd


def _unsealed(memfd: int) -> bytes:
    if memfd < 0:
        raise PacketError("a large packet came without its memory")
    try:
        if fcntl.fcntl(memfd, _F_GET_SEALS) & _SEALS != _SEALS:
            raise PacketError("the memory of a large packet is not sealed")
        size = os.fstat(memfd).st_size
        if size > LARGEST:
            raise PacketError(f"a packet of {size:,} bytes is over {LARGEST:,}")
        return os.pread(memfd, size, 0)
    except OSError as error:
        raise PacketError(f"the memory of a large packet cannot be read: {error}") from None
    finally:
        os.close(memfd)
