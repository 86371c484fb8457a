"""A test session that leaves a process behind fails and names it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
LEAVES_BY_ENVIRONMENT = """
import subprocess
def test_it():
    subprocess.Popen(["sleep", "300"], start_new_session=True).returncode = 0
"""
LEAVES_BY_FOLDER = """
import subprocess
def test_it(tmp_path):
    subprocess.Popen(["sleep", "300"], start_new_session=True, cwd=tmp_path, env={}).returncode = 0
"""


@pytest.mark.parametrize("code", [LEAVES_BY_ENVIRONMENT, LEAVES_BY_FOLDER], ids=["environment", "folder"])
def test_a_process_left_behind_fails_the_session(code: str, tmp_path: Path) -> None:
    """A daemon is found by the marker it inherited, or, with a scrubbed environment, by the temporary folder it works in."""
    (tmp_path / "test_leaves.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", f"--basetemp={tmp_path / 'base'}", "test_leaves.py"]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    left = [int(pid) for pid in re.findall(r"^  (\d+): .*sleep 300", ended.stdout, re.MULTILINE)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert (ended.returncode, len(left)) == (1, 1), ended.stdout
    assert "outlived the tests" in ended.stdout
