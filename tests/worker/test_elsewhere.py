"""Everything stops while tasks wait for a human; a worker with other folders goes on with them, and nothing happens twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from site_of_workers import Site, command_of, site, until
from tether.client import TaskHandle
from tether.testing import Reply, Request, ScriptedModels, call, reply

_AGENTS = Path(__file__).parent / "agents"
_STEPS = 5
_MORE = """\
[files]
url = "file://{files}"
[models.default]
upstream = "{upstream}"
model = "scripted"
free = true
context_window = 100000
max_output = 1000
[agents.parked]
kind = "command"
command = ["{python}", "{agents}/looking.py", "{{goal}}", "looks"]
code_dir = "{agents}"
readable = ["{prefix}"]
park_s = 300
[agents.given_up]
kind = "command"
command = ["{python}", "{agents}/looking.py", "{{goal}}", "looks"]
code_dir = "{agents}"
readable = ["{prefix}"]
park_s = 0.2
"""


def _script(request: Request) -> Reply:
    """Five times the tool there is, or a word; then the end."""
    tools = {tool["function"]["name"] for tool in request.body.get("tools", ())}
    if "run_shell" in tools and request.turn < _STEPS:
        command = f"echo line-{request.turn} >> lines.txt"
        return reply(tools=[call("run_shell", thought=f"line {request.turn}", command=command)])
    if "finish" in tools:
        return reply(tools=[call("finish", thought="done", result="all lines", summary="all written")])
    if "look" in tools and request.turn < _STEPS:
        return reply(tools=[call("look")])
    return reply(f"word-{request.turn}")


def _host(folder: Path, store: str, models: ScriptedModels, files: Path) -> contextlib.AbstractContextManager[Site]:
    """A worker's home: folders of its own, and the store and the files that all share."""
    folder.mkdir()
    prefix = Path(sys.prefix).resolve()
    more = _MORE.format(files=files, upstream=models.base_url, python=sys.executable, agents=_AGENTS, prefix=prefix)
    return site(folder, store, agents={"noting": "noting:noting"}, more=more, builtin=True)


def _kill_everything(place: Site, worker: subprocess.Popen[bytes]) -> None:
    """kill -9 of worker, gateway, zygotes and inits, and nothing on this host's disk is left of their work."""
    pids = [worker.pid, *place.gateway(worker), *place.zygotes(worker), *place.inits(worker)]
    assert len(pids) >= 3
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    worker.wait(5)
    until(lambda: not any(command_of(pid) for pid in pids) and not place.survivors(), 10, "the end of every process")
    shutil.rmtree(place.settings.home)


def _answered_once(models: ScriptedModels, goal: str) -> int:
    """How many calls the provider saw for this goal; none of them twice."""
    asked = [json.dumps(entry.body["messages"]) for entry in models.ledger if goal in json.dumps(entry.body["messages"])]
    assert len(set(asked)) == len(asked), f"{goal}: a call was paid twice"
    return len(asked)


def _no_finished_call_again(place: Site, handle: TaskHandle) -> None:
    started = Counter(data["call_id"] for data in place.events(handle, "tool_started"))
    ended = [data["outcome"] for data in place.events(handle, "tool_ended")]
    assert (set(started.values()), ended) == ({1}, ["ok"] * _STEPS)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_paused_tasks_finish_where_nothing_is_left_but_store_and_files(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Killed, approved while nobody serves, taken up elsewhere: no call is paid twice, no finished tool call repeated."""
    (tmp_path / "store").mkdir()
    sqlite = f"sqlite:///{tmp_path}/store/tether.db"
    store = request.getfixturevalue("postgres_database") if database == "postgres" else sqlite
    tmp_path.chmod(0o755)
    with ScriptedModels(_script) as models:
        with _host(tmp_path / "one", store, models, tmp_path / "files") as one:
            worker = one.add_worker()
            budget = {"max_llm_calls": 3}
            tasks = {
                agent: one.submit(agent, f"{agent} ELSEWHERE {_STEPS}", budget=budget, input={"steps": _STEPS})
                for agent in ("autogpt", "noting", "parked", "given_up")
            }
            for agent, handle in tasks.items():
                task = handle.wait(timeout=60)
                assert (task.state, task.reason, task.usage.llm_calls) == ("paused", "budget", 3), (agent, task, one.log())
            until(lambda: tasks["given_up"].document().attempts[0].state == "paused", 20, "the end of parking")
            assert tasks["parked"].document().attempts[0].state == "running"
            _kill_everything(one, worker)
        with _host(tmp_path / "two", store, models, tmp_path / "files") as two:
            handles = {agent: two.client.handle(handle.id) for agent, handle in tasks.items()}
            for agent in ("parked", "given_up"):
                approval = handles[agent].document().approval
                assert approval is not None
                replay = approval.details["replay"]
                assert (replay["answers"], [each["name"] for each in replay["calls"]]) == (3, ["look"] * 3), approval
            for handle in handles.values():
                handle.approve(add={"max_llm_calls": 10}, by="anna")
            two.add_worker()
            for agent, handle in handles.items():
                task = handle.wait(timeout=60)
                assert (task.state, len(task.attempts)) == ("succeeded", 2), (agent, task, two.log())
                asked = _answered_once(models, handle.document().goal)
                assert asked == task.usage.llm_calls == {"noting": _STEPS}.get(agent, _STEPS + 1), agent
            for agent, (name, words) in {"autogpt": ("lines.txt", "line"), "noting": ("notes.txt", "word")}.items():
                _no_finished_call_again(two, handles[agent])
                text = (two.settings.workspaces / handles[agent].id / name).read_text()
                assert text.split() == [f"{words}-{number}" for number in range(_STEPS)], f"{agent} lost files"
            for agent in ("parked", "given_up"):
                assert len(two.events(handles[agent], "call_replayed")) == 3
                assert not two.events(handles[agent], "replay_diverged")
