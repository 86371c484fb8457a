"""One JSON object per SOCK_SEQPACKET packet, with descriptors beside it; the wire of every process Tether starts.

Small objects travel in the packet itself. Larger ones travel as `{"big": size}` with one sealed memfd, so that the
reader maps bytes nobody can change under it. JSON, never pickle: what an attempt sends must not run in the supervisor.
On a non-blocking socket `send` and `recv` raise BlockingIOError, like the socket they use.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

__all__ = ["MAX_BIG", "MAX_FDS", "MAX_PACKET", "LinkClosed", "PacketError", "close_all", "recv", "send"]

MAX_PACKET = 64 * 1024
MAX_BIG = 16 * 1024 * 1024
MAX_FDS = 16

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_INT = array.array("i").itemsize


class LinkClosed(Exception):
    """The other end of the socket is gone."""


class PacketError(Exception):
    """A packet is not acceptable; `reason` is bad_json, unsealed or too_large."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def send(sock: socket.socket, obj: Any, fds: Sequence[int] = ()) -> None:
    """Send one object and `fds`. Raises LinkClosed, PacketError (bad_json, too_large), BlockingIOError."""
    body = _encode(obj)
    if len(body) <= MAX_PACKET:
        _sendmsg(sock, body, fds)
        return
    if len(body) > MAX_BIG:
        raise PacketError("too_large", f"{len(body)} bytes of JSON in one message; at most {MAX_BIG} fit, write a file instead")
    memfd = _sealed(body)
    try:
        _sendmsg(sock, b'{"big":%d}' % len(body), [*fds, memfd])
    finally:
        os.close(memfd)


def recv(sock: socket.socket) -> tuple[Any, list[int]] | None:
    """Receive one object and its descriptors (the caller closes them); None at end of file.

    Raises PacketError for what is not acceptable (its descriptors are closed), BlockingIOError.
    """
    body, fds, flags = _recvmsg(sock)
    if not body:
        close_all(fds)
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise PacketError("too_large", f"a packet of more than {MAX_PACKET} bytes or {MAX_FDS} descriptors")
        obj = _parse(body)
        if isinstance(obj, dict) and set(cast("dict[str, Any]", obj)) == {"big"}:
            return _parse(_unsealed(cast("dict[str, Any]", obj)["big"], fds)), fds
    except PacketError:
        close_all(fds)
        raise
    return obj, fds


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that came with a packet and are not wanted."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _sendmsg(sock: socket.socket, body: bytes, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([body], rights, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionError) as gone:
        raise LinkClosed("the other end of the link is closed") from gone


def _recvmsg(sock: socket.socket) -> tuple[bytes, list[int], int]:
    try:
        body, rights, flags, _ = sock.recvmsg(MAX_PACKET, socket.CMSG_SPACE(MAX_FDS * _INT), socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return b"", [], 0
    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _INT])
    return body, list(fds), flags


def _encode(obj: Any) -> bytes:
    try:
        return json.dumps(obj, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as bad:
        raise PacketError("bad_json", f"not expressible as JSON: {bad}") from bad


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as bad:
        raise PacketError("bad_json", f"a packet is not JSON: {bad}") from bad


def _sealed(body: bytes) -> int:
    memfd = os.memfd_create("tether-packet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def _unsealed(size: Any, fds: list[int]) -> bytes:
    if not fds:
        raise PacketError("unsealed", "a large packet came without its memory file")
    memfd = fds.pop()
    try:
        return _read_sealed(memfd, size)
    finally:
        os.close(memfd)


def _read_sealed(memfd: int, size: Any) -> bytes:
    try:
        seals = fcntl.fcntl(memfd, fcntl.F_GET_SEALS)
    except OSError as other:
        raise PacketError("unsealed", "the descriptor of a large packet is not a memory file") from other
    if seals & _SEALS != _SEALS:
        raise PacketError("unsealed", "the memory file of a large packet is not sealed; its writer could still change it")
    actual = os.fstat(memfd).st_size
    if actual != size or actual > MAX_BIG:
        raise PacketError("too_large", f"a large packet says {size} bytes and has {actual}; at most {MAX_BIG} are taken")
    return os.pread(memfd, actual, 0)
