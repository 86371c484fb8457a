"""The supervisor's side of the gateway process: start, restart, admit and revoke attempts, and what it reports.

The supervisor keeps a duplicate of every attempt's listeners, so when a gateway dies the next one is given them and the
calls made meanwhile wait in the backlog.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tether import packets
from tether.worker import processes
from tether.worker.channel import Channel
from tether.worker.loop import Loop

__all__ = ["Admission", "GatewayProcess"]

log = logging.getLogger("tether.worker")
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 10.0
_PASSED_ENV = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY", "TMPDIR")


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the gateway is told of an attempt, and duplicates of its listeners by name ("gateway", "proxy")."""

    packet: Mapping[str, Any]
    listeners: Mapping[str, int]


class GatewayProcess:
    """One gateway child; `report` gets each packet it sends; `lost` is given what starts the next one when it died."""

    def __init__(
        self,
        loop: Loop,
        configure: Mapping[str, Any],
        report: Callable[[dict[str, Any]], None],
        lost: Callable[[Callable[[], None]], None],
    ) -> None:
        self._loop = loop
        self._configure = configure
        self._report = report
        self._lost = lost
        self._admitted: dict[str, Admission] = {}
        self._backoff_s = _FIRST_BACKOFF_S
        self._closing = False
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the running gateway."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process; it reports `ready` later. Called in the main thread, whose death ends the child."""
        ours, theirs = packets.pair()
        env = {key: os.environ[key] for key in _PASSED_ENV if key in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tether.gateway", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=env | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        processes.go_first(self._process.pid)
        self._channel = Channel(self._loop, ours, self._take, self._died)
        self._send({"op": "configure", **self._configure})
        for admission in self._admitted.values():
            self._admit(admission)

    def admit(self, key: str, admission: Admission) -> None:
        """Let an attempt speak through the gateway; takes over the listener descriptors."""
        self._admitted[key] = admission
        self._admit(admission)

    def revoke(self, key: str, why: str) -> None:
        """Abort the attempt's connections and refuse it everything from now on."""
        admission = self._admitted.pop(key, None)
        if admission is None:
            return
        for fd in admission.listeners.values():
            os.close(fd)
        self._send({"op": "revoke", "key": key, "why": why})

    def tell(self, packet: dict[str, Any]) -> None:
        """Send another packet of the channel (resume, link_reply, hold)."""
        self._send(packet)

    def close(self, wait_s: float = 5.0) -> None:
        """End the process: it drains on end of file; killed after `wait_s` seconds."""
        self._closing = True
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(1)

    def _admit(self, admission: Admission) -> None:
        names = list(admission.listeners)
        self._send({"op": "admit", **admission.packet, "listeners": names}, [admission.listeners[name] for name in names])

    def _send(self, packet: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if self._channel is not None:
            self._channel.send(packet, fds)

    def _take(self, packet: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if packet.get("op") == "ready":
            self.ready = True
            self._backoff_s = _FIRST_BACKOFF_S
        self._report(packet)

    def _died(self) -> None:
        self._channel = None
        self.ready = False
        if self._process is not None:
            # SIGKILL is harmless when it is dead and needed when only its socket is closed.
            self._process.kill()
            log.warning("gateway %s is gone (exit %s)", self._process.pid, self._process.poll())
            self._reap(self._process)
        if self._closing:
            return
        backoff_s = self._backoff_s
        self._lost(lambda: self._restart_in(backoff_s))
        self._backoff_s = min(self._backoff_s * 2, _LONGEST_BACKOFF_S)

    def _restart_in(self, backoff_s: float) -> None:
        self._loop.after(backoff_s, self._restart)

    def _restart(self) -> None:
        if not self._closing:
            self.start()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            self._loop.after(0.05, lambda: self._reap(process))
