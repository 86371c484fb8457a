"""`tether up` from outside: the README's lines for a web application as a stranger types them, and an API that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import free_port
from terminal import Terminal
from tether import Client
from tether.client.doorway import doorway
from tether.testing import ScriptedModels, call, reply
from tether.testing.script import Usage

ROOT = Path(__file__).resolve().parent.parent.parent
_SECTION = re.compile(r"^## From your web application\n(.*?)^## ", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: The first answer costs more than the README's budget, so that there is something to approve.
_DEAR = Usage(input_tokens=1_000_000, output_tokens=10)
SCRIPT = {
    "three lines on tides": [
        reply(tools=[call("write_file", thought="I write them.", path="tides.txt", content="in\nout\nin")], usage=_DEAR),
        reply(tools=[call("finish", thought="Done.", result="three lines are in tides.txt")]),
    ],
}
AGENT = "def hello(task, link):\n    return f'hello {task.goal}'\n"


def _eventually(condition: Callable[[], bool], why: Callable[[], str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


@pytest.fixture
def up(terminal: Terminal) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `tether up` on a free port; it is told to stop afterwards, and must."""
    started: list[subprocess.Popen[str]] = []

    def start(**variables: str) -> subprocess.Popen[str]:
        started.append(terminal.start("up", TETHER_API__PORT=str(free_port()), **variables))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def test_an_api_that_dies_is_started_again(terminal: Terminal, up: Callable[..., subprocess.Popen[str]]) -> None:
    """SIGKILL the API of `tether up`: it says so, a new one answers at the same address with the same key, and ends with it."""
    (terminal.folder / "agents.py").write_text(AGENT)
    (terminal.folder / "tether.toml").write_text('[worker]\nagents = ["hello"]\n[agents.hello]\nentry = "agents:hello"\n')
    process = up()
    home = terminal.folder / ".tether"
    _eventually(lambda: doorway(home) is not None or process.poll() is not None, lambda: "the API does not start")
    before = doorway(home)
    assert before is not None, process.communicate()
    with Client(before.url, before.key, timeout=60, max_retries=60) as client:
        for _ in range(2):
            pid = int(json.loads((home / "api.json").read_text())["process"].partition(":")[0])
            os.kill(pid, signal.SIGKILL)
            _eventually(lambda: doorway(home) is not None, lambda: "the API is not started again")
            assert doorway(home) == before
            assert client.tasks().data == ()
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert said.count("the API ended with code -9") == 2, said
    assert doorway(home) is None


def test_the_readmes_curl_lines_work(terminal: Terminal) -> None:
    """Submit, follow, approve, fetch the result: by the README's own lines, with nothing else in the environment."""
    section = _SECTION.search((ROOT / "README.md").read_text())
    assert section
    block = _BLOCK.search(section[1])
    assert block
    lines = [line for line in block[1].splitlines() if line]
    assert lines[0].startswith(".venv/bin/tether up &")
    (terminal.folder / ".venv" / "bin").mkdir(parents=True)
    (terminal.folder / ".venv" / "bin" / "tether").symlink_to(Path(sys.executable).with_name("tether"))
    with ScriptedModels(SCRIPT) as models:
        variables = {**terminal.variables, "OPENAI_API_KEY": "sk-scripted", "OPENAI_BASE_URL": models.base_url}
        port = str(free_port())
        script = "set -euo pipefail\n" + "\n".join(_acted(lines)).replace("8787", port)
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=terminal.folder,
            env={**variables, "TETHER_API__PORT": port},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert ended.returncode == 0, ended
    result = json.loads(ended.stdout.splitlines()[-1])
    assert (result["state"], result["result"]) == ("succeeded", "three lines are in tides.txt")
    followed = (terminal.folder / "followed").read_text()
    assert followed.index("event: task_paused") < followed.index("event: task_succeeded")


def _acted(lines: list[str]) -> Iterator[str]:
    """The lines as a person uses them: reads ids out of answers, looks again until there is something to decide."""
    take = "=$(python3 -c 'import json; said = json.load(open(\"said\")); print({})')"
    for line in lines:
        if line.startswith(".venv/bin/tether up &"):
            yield ".venv/bin/tether up >up.log 2>&1 & UP=$!\ntrap 'kill $UP; wait $UP || true' EXIT"
        elif line.startswith("ID="):
            yield "ID" + take.format('said["id"]')
        elif line.startswith("APPROVAL="):
            yield "APPROVAL" + take.format('said["data"][0]["id"]')
        elif "text/event-stream" in line:
            yield line.partition("#")[0] + ">followed & FOLLOWING=$!"
        elif line.startswith('api "$URL/v1/approvals?'):
            yield "until " + line.partition("#")[0] + ">said; grep -q appr_ said; do sleep 0.2; done"
        elif line.endswith("why") and "/result" in line:
            yield "wait $FOLLOWING  # it ends by itself when the task is final"
            yield line
        elif line.startswith("api $URL/v1/tasks -d"):
            yield line + " >said"
        else:
            yield line
