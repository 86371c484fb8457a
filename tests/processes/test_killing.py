"""Whatever an agent or a tool does, it can be questioned, stopped and killed with everything it started."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from stage import Attempt, Stage, until
from tether.agent import syscalls, tree
from tether.testing import misbehave
from tether.worker import killing, processes

Setting = Callable[..., Stage]

MISBEHAVE = "tether.testing.misbehave"
PR_SET_CHILD_SUBREAPER = 36
KINDS = sorted(misbehave.KINDS)
ASLEEP = """
def agent(task, link):
    import time
    print("asleep", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def misbehaving(setting: Setting) -> Stage:
    return setting(entry=f"{MISBEHAVE}:sleep")


def _settled(attempt: Attempt, kind: str) -> list[int]:
    """The tree of a misbehaving attempt once it has become what it will be."""
    least = {"daemon": 3, "daemon_busy": 3, "fork_bomb": 51}.get(kind, 2)
    return until(lambda: len(tree := attempt.tree()) >= least and tree, f"{least} processes of {kind}")


def _states(attempt: Attempt) -> set[str]:
    return {process.state for process in processes.tree(attempt.pid)[1:]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_misbehaving_agent_is_dumped_and_dies_whole(misbehaving: Stage, kind: str) -> None:
    """Its stacks are had, the kill leaves no process, and a neighbour of the same zygote does not notice."""
    neighbour = misbehaving.start()
    neighbour.prints("misbehaving: sleep")
    attempt = misbehaving.start(entry=f"{MISBEHAVE}:{kind}")
    attempt.prints(f"misbehaving: {kind}")
    tree = _settled(attempt, kind)
    assert killing.ask_stacks(attempt.pid)
    until(lambda: "misbehave.py" in attempt.stacks.text(), "stacks")
    until(lambda: killing.stop_tree(attempt.pid) and _states(attempt) <= {"T", "Z"}, "everything to stand still")
    assert all(fact["pid"] and fact["state"] for fact in killing.process_facts(attempt.pid))
    until(lambda: attempt.kill() or attempt.is_gone(), "the end of the attempt", 5)
    misbehaving.gone(attempt)
    until(lambda: not [pid for pid in tree if processes.is_alive(pid)], "the end of its tree", 5)
    assert neighbour.heard("agent_exited") is None
    assert sorted(misbehaving.left()) == sorted(neighbour.tree())


@pytest.mark.parametrize("kind", KINDS)
def test_a_misbehaving_tool_dies_whole_and_alone(misbehaving: Stage, kind: str) -> None:
    """Killing a tool leaves nothing of it, and takes nothing from its agent or another tool."""
    attempt = misbehaving.start()
    attempt.prints("misbehaving: sleep")
    other = attempt.tool(f"{MISBEHAVE}:tool", kind="sleep")
    attempt.hears("tool_started", tool_id=other.tool_id)
    others = until(lambda: len(tree := attempt.tree()) == 4 and tree, "init, agent, runner and tool")
    call = attempt.tool(f"{MISBEHAVE}:tool", kind=kind)
    attempt.hears("tool_started", tool_id=call.tool_id)
    until(lambda: len(_settled(attempt, kind)) >= 6 + _extra(kind), "the tool at work")
    call.kill()
    status = attempt.hears("tool_exited", tool_id=call.tool_id)["status"]
    assert os.WTERMSIG(status) == signal.SIGKILL
    until(lambda: sorted(attempt.tree()) == sorted(others), lambda: f"the end of the tool; {attempt.tree()} {others}")
    assert sorted(misbehaving.left()) == sorted(others)
    assert attempt.heard("agent_exited") is None


def _extra(kind: str) -> int:
    return {"daemon": 1, "daemon_busy": 1, "fork_bomb": 50}.get(kind, 0)


def test_what_a_finished_tool_left_behind_dies_with_it(setting: Setting, code: Callable[..., str]) -> None:
    """A tool that answers and leaves a daemon has no daemon a moment later."""
    source = ASLEEP + "def leave(workspace, args, options):\n    from tether.testing import misbehave\n"
    source += "    misbehave._daemonise(misbehave._sleep_on)\n    return 'left'\n"
    acting = setting(entry="leaving:agent", code_dir=code(leaving_py=source))
    attempt = acting.start()
    attempt.prints("asleep")
    assert attempt.tool("leaving:leave").answer() == {"ok": True, "result": "left"}
    attempt.hears("tool_exited")
    until(lambda: len(acting.left()) == 2, "only init and agent")


def test_a_stopped_tree_goes_on(misbehaving: Stage) -> None:
    """A frozen attempt can be continued as if nothing had been."""
    attempt = misbehaving.start(entry=f"{MISBEHAVE}:daemon_busy")
    attempt.prints("misbehaving: daemon_busy")
    _settled(attempt, "daemon_busy")
    # A zombie whose parent stands still stays one; it does nothing.
    until(lambda: killing.stop_tree(attempt.pid) and _states(attempt) - {"Z"} == {"T"}, "everything to stand still")
    killing.cont_tree(attempt.pid)
    until(lambda: "T" not in _states(attempt), "everything to go on")


@pytest.mark.parametrize("kind", ["daemon_busy", "fork_bomb", "stopped"])
def test_the_death_of_the_supervisor_ends_everything(misbehaving: Stage, kind: str) -> None:
    """End of file on the zygote's and init's sockets ends zygote, inits and all they started within two seconds."""
    attempt = misbehaving.start(entry=f"{MISBEHAVE}:{kind}")
    attempt.prints(f"misbehaving: {kind}")
    _settled(attempt, kind)
    attempt.ctl.close()
    misbehaving.zygote.close()
    until(lambda: not misbehaving.left(), lambda: f"the end of {misbehaving.left()}", 2)


def test_init_alone_sees_the_death_of_the_supervisor(misbehaving: Stage) -> None:
    """End of file on init's socket ends its attempt, daemons included, even while the zygote does nothing."""
    attempt = misbehaving.start(entry=f"{MISBEHAVE}:daemon")
    attempt.prints("misbehaving: daemon")
    _settled(attempt, "daemon")
    os.kill(misbehaving.zygote.pid, signal.SIGSTOP)
    attempt.ctl.close()
    until(lambda: not misbehaving.left(), lambda: f"the end of {misbehaving.left()}", 3)
    os.kill(misbehaving.zygote.pid, signal.SIGCONT)


@pytest.fixture
def children_before(misbehaving: Stage) -> Iterator[set[int]]:
    """Adopt orphans for one test; the children from before are others' (servers of the whole session among them)."""
    before = {misbehaving.zygote.pid, *tree.children(os.getpid())}
    processes.adopt_orphans()
    yield before
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_the_death_of_the_zygote_ends_its_attempts(misbehaving: Stage, children_before: set[int]) -> None:
    """A killed zygote takes its attempts along; without namespaces daemons come to the supervisor, which ends them."""
    attempt = misbehaving.start(entry=f"{MISBEHAVE}:daemon")
    attempt.prints("misbehaving: daemon")
    _settled(attempt, "daemon")
    misbehaving.zygote.kill()
    until(attempt.is_gone, "the end of init")
    until(lambda: misbehaving.zygote.reap() is not None, "the end of the zygote")
    until(lambda: processes.end_orphans(known=children_before) or not misbehaving.left(), "the end of what it left")
    until(lambda: not misbehaving.left(), lambda: f"the end of {misbehaving.left()}")


def test_an_agent_cannot_kill_its_init(setting: Setting, namespaces: str | None) -> None:
    """SIGKILL to every process it can name takes nothing down but itself."""
    attempt = setting(kind="command").start(["sh", "-c", "echo there; kill -9 $PPID 1; kill -9 -1; echo here; sleep 1000"])
    attempt.prints("there")
    attempt.prints("here") if namespaces is None else None
    assert not attempt.is_gone()
