"""Checks a result against a JSON Schema in a process of its own: a pattern may take for ever, the supervisor may not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from tether.worker import processes

__all__ = ["ResultChecks"]

_LIMIT_S = 5.0
_CHECK = """
import json, sys, resource
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import jsonschema
given = json.load(sys.stdin)
try:
    jsonschema.validate(given["result"], given["schema"])
except jsonschema.ValidationError as error:
    place = "/".join(str(part) for part in error.absolute_path)
    print(f"{place or 'the result'}: {error.message}"[:2000])
except jsonschema.SchemaError as error:
    print(f"result_schema itself is not valid: {error.message}"[:2000])
"""


class ResultChecks:
    """Checks that run now are known by process id, so nobody takes them for something left behind."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._running: set[int] = set()

    def pids(self) -> set[int]:
        """Process ids of checks that run now; hold `lock` while you rely on it."""
        return set(self._running)

    def problem_of(self, result: Any, schema: Any) -> str | None:
        """What is wrong with `result`, in one line, or None; takes at most 5 s."""
        with self.lock:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CHECK],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={},
            )
            self._running.add(process.pid)
        processes.as_usual(process.pid)
        try:
            said, _ = process.communicate(json.dumps({"result": result, "schema": schema}), timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"checking it took more than {_LIMIT_S:g} s"
        finally:
            with self.lock:
                self._running.discard(process.pid)
        if process.returncode != 0:
            return f"it could not be checked (exit {process.returncode})"
        return said.strip() or None
