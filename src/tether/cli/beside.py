"""The API as a process of its own beside the worker of `tether up`: started again when it dies, gone when this process is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from tether.cli.output import say

if TYPE_CHECKING:
    from tether.cli.invocation import Invocation

__all__ = ["ApiProcess", "again_in_s"]

_STOP_S = 15.0
_FIRST_S = 0.5
_LONGEST_S = 30.0
_STEADY_S = 60.0


def again_in_s(deaths: int) -> float:
    """Seconds until it is started again after so many deaths in a row: twice as many each time, up to half a minute."""
    return min(_FIRST_S * 2.0 ** (deaths - 1), _LONGEST_S)


class ApiProcess:
    """Runs from the start on; one that lived for a minute has all its tries again."""

    def __init__(self, inv: Invocation) -> None:
        self._environment = {**os.environ, **inv.worker_environment()}
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._process = self._start()
        threading.Thread(target=self._watch, name="api", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        with self._changing:
            process = self._process
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tether", "api", "--parent", str(os.getpid())]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=self._environment)

    def _watch(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            code = self._process.wait()
            deaths = 1 if time.monotonic() - began > _STEADY_S else deaths + 1
            if self._stopping.is_set():
                return
            wait_s = again_in_s(deaths)
            say(f"warning: the API ended with code {code}; tasks go on, and it is started again in {wait_s:g} s", "yellow")
            if self._stopping.wait(wait_s):
                return
            with self._changing:
                if self._stopping.is_set():
                    return
                self._process = self._start()
