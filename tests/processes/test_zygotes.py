"""Zygotes: what they are made of, what they refuse, and other users, interpreters and kernels they meet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage import Stage, open_the_way, until
from tether.errors import WorkerError
from tether.worker.zygote import Failed, Gone, StartFailed, ZygoteSpec, spawn_zygote

Setting = Callable[..., Stage]
Code = Callable[..., str]
HERE = Path(__file__).parent
PACKAGE = HERE.parent.parent / "src" / "tether"

THREADED = """
import os, threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
importer = os.getpid()
def agent(task, link):
    print("imported here", importer == os.getpid(), flush=True)
"""

OPENING = """
import os, socket
log = open(os.path.join(os.path.dirname(__file__), "log.txt"), "a")
peer, other = socket.socketpair()
def agent(task, link):
    null = os.stat("/dev/null")
    print("sees", {os.path.samestat(os.fstat(file.fileno()), null) for file in (log, peer, other)}, flush=True)
"""


def test_an_entry_that_starts_threads_is_imported_in_each_attempt(setting: Setting, code: Code) -> None:
    """Threads do not survive a fork, so such an agent gets fresh attempts, and the zygote says so."""
    acting = setting(entry="threaded:agent", code_dir=code(threaded_py=THREADED))
    assert acting.ready.mode == "fresh"
    attempt = acting.start()
    attempt.prints("imported here True")
    assert attempt.hears("agent_exited")["status"] == 0


def test_what_the_import_opened_is_not_inherited(setting: Setting, code: Code) -> None:
    """Files and sockets opened while an entry is imported would lead around the walls; attempts find /dev/null there."""
    acting = setting(entry="opening:agent", code_dir=code(opening_py=OPENING))
    assert "log.txt" in " ".join(acting.ready.notes)
    acting.start().prints("sees {True}")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module_anywhere", "needs the module no_such_module_anywhere"),
        ("def agent(task): pass", "cannot be called with (task, link)"),
        ("agent = 3", "not a function"),
        ("def other(task, link): pass", "has no agent"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("def agent(task, link)\n    pass", "is not valid Python"),
        ("import os; os._exit(4)", None),
    ],
)
def test_a_bad_entry_names_its_key_and_the_remedy(setting: Setting, code: Code, source: str, problem: str | None) -> None:
    """Whatever is wrong with an entry, the zygote says it in words, or is gone; it never hangs."""
    acting = setting(entry="bad:agent", code_dir=code(bad_py=source))
    if problem is None:
        acting.message(Gone)
        return
    failed = acting.message(Failed)
    assert failed.field == "agents.tested.entry"
    assert problem in failed.problem
    assert failed.remedy


def test_a_bad_folder_or_interpreter_names_its_key(setting: Setting) -> None:
    """code_dir and python are checked when the zygote starts."""
    assert setting(entry="x:agent", code_dir="/no/such/folder").message(Failed).field == "agents.tested.code_dir"
    with pytest.raises(WorkerError, match=r"agents\.a\.python: /no/python"):
        spawn_zygote(ZygoteSpec(name="a", kind="python", python="/no/python"))


def test_nothing_of_the_worker_is_in_its_environment(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the worker's environment does not reach zygote or attempt; configured variables do."""
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    acting = setting(kind="command", env={"CHOSEN": "yes"})
    attempt = acting.start(["sh", "-c", "env; echo end"])
    printed = attempt.prints("end\n")
    assert "SOME_API_KEY" not in printed
    assert "CHOSEN=yes" in printed
    assert b"SOME_API_KEY" not in Path(f"/proc/{acting.zygote.pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "lacks 'workspace'"),
        ({"workspace": "/no/such"}, "workspace: /no/such"),
        ({"workspace": "/tmp", "readable": ["/usr/.."]}, "readable: /"),
        ({"workspace": "/tmp", "isolation": "cooperative", "gateway": {}}, "gateway.port"),
    ],
)
def test_a_bad_order_is_refused_alone(setting: Setting, spec: dict[str, Any], problem: str) -> None:
    """A bad order is start_failed with what it lacks; the zygote goes on."""
    acting = setting(kind="command")
    fine = acting.start(["echo", "fine"])
    acting.zygote.start("bad", {"isolation": acting.isolation, "gateway": {"port": 1}, **spec}, [fine.stdout.fd] * 6)
    assert problem in acting.message(StartFailed, key="bad").problem
    fine.prints("fine")
    acting.start(["echo", "also fine"]).prints("also fine")


def _interpreters() -> list[str]:
    found = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14)]
    versions = Path(sys.base_prefix).parent.glob("3.1[2-9]*/bin/python3")
    return [str(path) for path in [*found, *sorted(versions)] if path and _works(str(path))]


def _works(python: str) -> bool:
    probe = [python, "-c", "import sys, faulthandler; sys.exit(sys.version_info < (3, 12))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("python", _interpreters() or [None])
def test_a_foreign_interpreter_with_a_virtual_environment(
    setting: Setting, code: Code, tmp_path: Path, python: str | None
) -> None:
    """`python=` may be another version in its own environment: it gets tether itself and nothing else of ours."""
    if python is None:
        pytest.skip("there is no other Python on this machine")
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
    source = "import importlib.util, sys\ndef agent(task, link):\n"
    source += "    print(sys.version_info[:2] >= (3, 12), sys.prefix, importlib.util.find_spec('pydantic_ai'), flush=True)\n"
    source += "    link.checkpoint({'a': 1})\ndef tool(workspace, args, options):\n    return sys.prefix\n"
    acting = setting(entry="foreign:agent", code_dir=code(foreign_py=source), python=str(venv / "bin" / "python"))
    attempt = acting.start()
    attempt.prints(f"True {venv} None")
    assert attempt.tool("foreign:tool").answer() == {"ok": True, "result": str(venv)}
    assert attempt.hears("agent_exited")["status"] == 0


def test_an_interpreter_that_is_too_old_is_told_so(setting: Setting) -> None:
    """A Python before 3.11 is refused in one line."""
    old = next((p for p in sorted(Path(sys.base_prefix).parent.glob("3.[6-9]*/bin/python3")) if p.exists()), None)
    if old is None:
        pytest.skip("there is no older Python on this machine")
    assert "agents need 3.11 or newer" in setting(kind="command", python=str(old)).message(Gone).tail


def _as_other(tmp_path: Path, isolation: str, *, user: list[str], python: str) -> dict[str, Any]:
    """Run other_user.py with `user` in front, on copies any user can read."""
    place = Path(shutil.copytree(PACKAGE, tmp_path / "src" / "tether").parent)
    for name in ("stage.py", "other_user.py"):
        shutil.copy(HERE / name, place)
    open_the_way(tmp_path)
    env = {"PYTHONPATH": str(place), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*user, python, str(place / "other_user.py"), isolation],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def common_python() -> str:
    """An interpreter that every user may execute."""
    for python in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.path.exists(python):
            found = subprocess.run(
                [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, check=False
            )
            if found.stdout == b"True\n":
                return python
    pytest.skip("no Python 3.11 that other users may execute")


def test_without_privileges_it_is_the_same(tmp_path: Path, isolation: str, common_python: str) -> None:
    """As a user without privileges an attempt has the same walls, answers with its stacks and dies whole."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root to become another user")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    said = _as_other(tmp_path, isolation, user=user, python=common_python)
    walls = "enforced" if isolation == "enforced" else "cooperative"
    assert said["walls"]["processes"] == said["walls"]["network"] == walls
    assert said["uids"] is False
    assert said["asked"] >= 1
    assert said["left"] == []


@pytest.mark.parametrize("wanted", ["auto", "enforced"])
def test_a_kernel_that_refuses_namespaces(tmp_path: Path, wanted: str, common_python: str, namespaces: str | None) -> None:
    """Where user namespaces are used up, `auto` goes on cooperatively and says why, `enforced` refuses with the remedy."""
    if namespaces is not None or shutil.which("unshare") is None:
        pytest.skip("needs user namespaces to forbid them in")
    # A limit set inside a user namespace holds for it and those below, and for nobody else.
    forbid = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh"]
    said = _as_other(tmp_path, wanted, user=forbid, python=common_python)
    if wanted == "enforced":
        assert said["field"] == "agents.tested.isolation"
        assert "namespaces" in said["problem"]
        assert "cooperative" in said["remedy"]
    else:
        assert said["walls"]["processes"] == "cooperative"
        assert said["left"] == []


def test_the_builtin_agent_is_warm_and_single_threaded(setting: Setting) -> None:
    """The built-in agent's zygote has rehearsed and can be forked; what it imported leaves no thread behind."""
    ready = setting(kind="builtin", builtin={"tools": ["read_file"]}).ready
    assert ready.mode == "fork"
    assert ready.notes == ()


def test_a_dead_zygote_says_what_it_printed_last(setting: Setting, code: Code) -> None:
    """Gone carries the tail of what imports wrote."""
    acting = setting(entry="loud:agent", code_dir=code(loud_py="import os\nprint('about to fail')\nos._exit(1)\n"))
    assert acting.message(Gone).tail == "about to fail"


def test_the_zygote_forgets_nothing_under_load(setting: Setting) -> None:
    """Sixty attempts alive at once; each is reported started and exited once."""
    acting = setting(kind="command")
    attempts = [acting.order(["sh", "-c", "echo up; sleep 1000"]) for _ in range(60)]
    for attempt in attempts:
        attempt.prints("up")
    for attempt in attempts:
        until(lambda each=attempt: acting.read() or each.pid, "its pid")
        attempt.kill()
    for attempt in attempts:
        acting.gone(attempt)
    assert acting.left() == []


def test_what_an_attempt_allocates_lies_side_by_side() -> None:
    """Once the gaps of a process are filled, filling them again finds next to none."""
    code = (
        "import asyncio, pydantic, sys; from tether.agent.heap import filled_gaps; first = filled_gaps(); "
        "print(len(first), sum(map(sys.getsizeof, filled_gaps())))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert int(said[0]) > 100
    assert int(said[1]) < 100_000


def test_a_folder_attempts_cannot_import_from_is_named_with_the_remedy(setting: Setting, code: Code, tmp_path: Path) -> None:
    """A place of modules that a .pth file names is not opened unasked: the note has the line to add."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "shared_words.py").write_text("WORD = 'hello'\n")
    folder = str((tmp_path / "elsewhere").resolve())
    code_dir = code(said_py=f"import sys\nsys.path.append({folder!r})\nimport shared_words\ndef agent(task, link): ...\n")
    notes = " ".join(setting(entry="said:agent", code_dir=code_dir).ready.notes)
    assert f'add readable = ["{folder}"] to [agents.tested]' in notes
    assert setting(entry="said:agent", code_dir=code_dir, readable=(folder,)).ready.notes == ()
