"""The way from a worker to its servers, which can be cut: proxies that stop, or a network on a cable that is pulled."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Cable", "CannotLay", "Wires"]

_COMMAND_S = 10.0
_NETWORKS, _NAMED = Path("/run/netns"), "tether-test-"
_IP = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class CannotLay(Exception):
    """No network namespace can be made here; the message says why."""


class Wires:
    """Ports of this host as a worker reaches them; what passes may be stopped with the connections left open."""

    #: what stands before the command of a worker
    prefix: Sequence[str] = ()
    #: where the worker finds this host
    host = "127.0.0.1"

    def __init__(self) -> None:
        self._wires: dict[int, _Wire] = {}

    def urls(self, text: str) -> str:
        """A configuration with all servers of this host as the worker has to name them."""
        return re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"{self.host}:{self._to(int(found[1]))}", text)

    def cut(self) -> None:
        """From now on nothing passes, in either direction."""
        for wire in self._wires.values():
            wire.whole.clear()

    def mend(self) -> None:
        """What waited is delivered, as TCP would."""
        for wire in self._wires.values():
            wire.whole.set()

    def close(self) -> None:
        """End all connections."""
        for wire in self._wires.values():
            wire.close()

    def _to(self, port: int) -> int:
        if port not in self._wires:
            self._wires[port] = _Wire(self.host, port)
        return self._wires[port].port


class Cable(Wires):
    """A network namespace for workers, joined to this one by a pair of virtual interfaces. Raises CannotLay."""

    def __init__(self) -> None:
        super().__init__()
        _remove_left_behind()
        number = random.randrange(1 << 15)  # two tests may do this at once
        self._name, self._ours, self._theirs = f"{_NAMED}{os.getpid()}.{number}", f"teth{number}a", f"teth{number}b"
        # 198.18.0.0/15 is set aside for tests of networks (RFC 2544); four addresses for each cable
        net = f"198.{18 + (number >> 14)}.{(number >> 6) & 255}"
        first = (number & 63) * 4
        self.host, there = f"{net}.{first + 1}", f"{net}.{first + 2}"
        if os.geteuid() != 0 or _IP is None:
            raise CannotLay("a network namespace needs root and `ip` (`apt-get install iproute2`)")
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self._name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._ours)
            _ip("link", "set", self._ours, "up")
            _ip("-n", self._name, "addr", "add", f"{there}/30", "dev", self._theirs)
            for interface in (self._theirs, "lo"):
                _ip("-n", self._name, "link", "set", interface, "up")
        except CannotLay:
            self.close()
            raise
        self.prefix = ("nsenter", f"--net={_NETWORKS / self._name}", "--")

    def cut(self) -> None:
        """Pull it: packets of both sides get lost."""
        _ip("link", "set", self._ours, "down")

    def mend(self) -> None:
        """Put it back; TCP sends again what got lost."""
        _ip("link", "set", self._ours, "up")

    def close(self) -> None:
        """End all connections and remove the namespace, and the interfaces with it."""
        super().close()
        _ip("netns", "delete", self._name)


class _Wire:
    """Forwards connections on an address to a loopback port while it is whole."""

    def __init__(self, host: str, to_port: int) -> None:
        self._to = ("127.0.0.1", to_port)
        self.whole = threading.Event()
        self.whole.set()
        self._listener = socket.create_server((host, 0))
        self._open: list[socket.socket] = [self._listener]
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.whole.set()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.whole.wait()
                far = socket.create_connection(self._to)
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.whole.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _remove_left_behind() -> None:
    """Networks of tests that were killed."""
    for path in _NETWORKS.glob(f"{_NAMED}*"):
        pid = path.name.removeprefix(_NAMED).partition(".")[0]
        if not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(CannotLay):
                _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> None:
    done = subprocess.run([_IP or "ip", *arguments], capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    if done.returncode != 0:
        raise CannotLay(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
