"""Checks a result against a JSON Schema in a process of its own: a pattern may take for ever, the supervisor may not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

__all__ = ["problem_of"]

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


def problem_of(result: Any, schema: Any) -> str | None:
    """What is wrong with `result`, in one line, or None; takes at most 5 s."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHECK],
            input=json.dumps({"result": result, "schema": schema}),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            env={},
        )
    except subprocess.TimeoutExpired:
        return f"checking it took more than {_LIMIT_S:g} s"
    if done.returncode != 0:
        return f"it could not be checked (exit {done.returncode})"
    return done.stdout.strip() or None
