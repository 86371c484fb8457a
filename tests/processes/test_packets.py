"""The packet codec between the processes of Tether."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tether import packets


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


@pytest.mark.parametrize("obj", [{}, {"text": "ü\u0000"}, {"id": 1, "list": [None, True, 1.5]}, {"text": "x" * 100_000}])
def test_an_object_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket], obj: dict[str, object]) -> None:
    """Whatever JSON can say survives the wire, small or large, NUL included."""
    packets.send(pair[0], obj)
    assert packets.receive(pair[1]) == (obj, [])


def test_descriptors_travel_with_large_and_small_packets(pair: tuple[socket.socket, socket.socket]) -> None:
    """Descriptors arrive in order and close-on-exec, and a large body's own memory file is not among them."""
    for obj in ({"a": 1}, {"a": "x" * 200_000}):
        read_end, write_end = os.pipe()
        packets.send(pair[0], obj, [write_end])
        os.close(write_end)
        received = packets.receive(pair[1])
        assert received is not None
        got, fds = received
        assert got == obj
        assert not os.get_inheritable(fds[0])
        os.write(fds[0], b"hello")
        os.close(fds[0])
        assert os.read(read_end, 10) == b"hello"
        os.close(read_end)


def test_too_large_is_refused_before_it_is_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """A message over 16 MiB is a PacketError and leaves the link usable."""
    with pytest.raises(packets.PacketError):
        packets.send(pair[0], {"text": "x" * packets.LARGEST})
    packets.send(pair[0], {"still": "here"})
    assert packets.receive(pair[1]) == ({"still": "here"}, [])


def test_an_unsealed_memory_file_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    """A body its writer could still change is never read, and no descriptor leaks."""
    memfd = os.memfd_create("hostile")
    os.write(memfd, b"{}" + b" " * 100_000)
    before = len(os.listdir("/proc/self/fd"))
    packets._sendmsg(pair[0], b'{"big":100002}', [memfd])
    with pytest.raises(packets.PacketError):
        packets.receive(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(memfd)


@pytest.mark.parametrize("body", [b"not json", b"\xff\xfe", b'{"big":12}', b"[" * 60_000])
def test_garbage_raises_and_the_link_goes_on(pair: tuple[socket.socket, socket.socket], body: bytes) -> None:
    """Garbage is a PacketError, never another exception, and the next packet is read as usual."""
    pair[0].send(body)
    with pytest.raises(packets.PacketError):
        packets.receive(pair[1])
    packets.send(pair[0], {"next": 1})
    assert packets.receive(pair[1]) == ({"next": 1}, [])


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes"])
def test_what_json_cannot_say_is_refused_by_the_sender(pair: tuple[socket.socket, socket.socket], value: object) -> None:
    """The sender hears of it as PacketError; nothing is sent."""
    with pytest.raises(packets.PacketError):
        packets.send(pair[0], {"value": value})


def _fill(sock: socket.socket) -> None:
    while True:
        packets.send(sock, {"fill": "x" * 1000})


def test_end_of_file_and_a_full_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    """A closed link reads as None and refuses sends; a full non-blocking one raises BlockingIOError."""
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        _fill(pair[0])
    with pytest.raises(BlockingIOError):
        packets.receive(pair[0])
    pair[1].close()
    with pytest.raises(packets.LinkClosed):
        packets.send(pair[0], {})
    assert packets.receive(pair[0]) is None
