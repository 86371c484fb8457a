"""The built-in tools, and how any tool is carried out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tether.agent import tools

Use = Callable[..., Any]


@pytest.fixture
def use(tmp_path: Path) -> Use:
    """Runs a built-in tool in a workspace and returns its result; `fails=` expects an error with these words instead."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def run(name: str, fails: str | None = None, options: dict[str, Any] | None = None, **args: Any) -> Any:
        answer = tools.run(tools.BUILTIN[name].entry, workspace, args, options or {})
        if fails is None:
            assert answer["ok"], answer
            return answer["result"]
        assert not answer["ok"], answer
        assert fails in answer["error"]
        assert "Traceback" not in answer["error"]
        return answer

    return run


@pytest.fixture
def workspace(tmp_path: Path, use: Use) -> Path:
    """The folder `use` works in."""
    assert use
    return tmp_path / "workspace"


def test_a_file_is_written_read_and_listed(use: Use) -> None:
    """What is written can be read back, in parts too, and shows in the listing."""
    content = "one\ntwo\nthree ü\n"
    assert use("write_file", path="notes/a.txt", content=content) == {"path": "notes/a.txt", "bytes": 17}
    assert use("read_file", path="notes/a.txt")["content"] == content
    part = use("read_file", path="notes/a.txt", first_line="2", max_lines=1)
    assert (part["content"], part["first_line"], part["lines"], part["more"]) == ("two\n", 2, 3, True)
    use("write_file", path="notes/a.txt", content="")
    assert use("list_files") == {"files": [{"path": "notes/a.txt", "bytes": 0}], "more": False}
    assert use("list_files", path="notes")["files"][0]["path"] == "notes/a.txt"


def test_absolute_paths_of_the_workspace_are_understood(use: Use, workspace: Path) -> None:
    """Models like absolute paths: those that lie in the workspace work."""
    use("write_file", path=str(workspace / "a.txt"), content="x")
    assert use("read_file", path=str(workspace / "a.txt"))["content"] == "x"


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "a/../../secret", "link/secret", "link", "dir/inner/secret", "file"]
)
@pytest.mark.parametrize("name", ["read_file", "write_file"])
def test_no_path_leads_out_of_the_workspace(use: Use, workspace: Path, tmp_path: Path, name: str, path: str) -> None:
    """Neither .., nor an absolute path, nor a link anywhere on the way reads or writes a file outside."""
    (tmp_path / "secret").write_text("secret")
    (workspace / "dir").mkdir()
    (workspace / "link").symlink_to(tmp_path)
    (workspace / "file").symlink_to(tmp_path / "secret")
    (workspace / "dir" / "inner").symlink_to(tmp_path)
    use(name, "", path=path, content="overwritten")
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_link_swapped_in_while_the_tool_works_is_not_followed(workspace: Path, tmp_path: Path) -> None:
    """A folder that becomes a link between the check and the opening would be the gap; there is none."""
    (tmp_path / "outside").mkdir()
    swap = "while :; do mkdir d 2>/dev/null; rm -rf d; ln -s ../outside d 2>/dev/null; rm -f d; done"
    swapper = subprocess.Popen(["bash", "-c", swap], cwd=workspace)
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            tools.run(tools.BUILTIN["write_file"].entry, workspace, {"path": "d/f", "content": "x"}, {})
    finally:
        swapper.send_signal(signal.SIGKILL)
        swapper.wait(10)
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_no_readable_file_is_named(use: Use, workspace: Path) -> None:
    """Folders, pipes, binaries and missing files are told apart, and nothing waits for a pipe."""
    os.mkfifo(workspace / "pipe")
    (workspace / "folder").mkdir()
    (workspace / "binary").write_bytes(b"\x7fELF\0\0")
    (workspace / "latin").write_bytes(b"caf\xe9")
    use("read_file", "plain file", path="pipe")
    use("write_file", "plain file", path="pipe", content="x")
    use("read_file", "plain file", path="folder")
    use("read_file", "not a text file", path="binary")
    use("read_file", "list_files", path="missing")
    use("read_file", "missing", pth="x")
    use("read_file", "must be text", path=5)
    use("read_file", "whole number", path="latin", first_line="first")
    use("list_files", "missing", path="missing")
    assert use("read_file", path="latin")["content"] == "caf\ufffd"


def test_a_long_listing_and_a_long_file_are_cut(use: Use, workspace: Path) -> None:
    """A workspace of thousands of files or a log of megabytes does not fill the model's memory."""
    for n in range(600):
        (workspace / f"{n:04}.txt").touch()
    listing = use("list_files")
    assert (len(listing["files"]), listing["more"]) == (500, True)
    (workspace / "log").write_text("line\n" * 500_000)
    read = use("read_file", path="log")
    assert (len(read["content"]), read["more"], read["lines"]) == (100_000, True, 500_000)


def test_python_and_shell_run_in_the_workspace(use: Use, workspace: Path) -> None:
    """Programs see the workspace's files; output and exit code come back, a failing program is a result, not an error."""
    (workspace / "mod.py").write_text("n = 42")
    assert use("run_python", code="import mod; print(mod.n)") == {"exit_code": 0, "stdout": "42\n", "stderr": ""}
    failed = use("run_python", code="print('ü'); raise ValueError('no')")
    assert (failed["exit_code"], failed["stdout"]) == (1, "ü\n")
    assert "ValueError: no" in failed["stderr"]
    assert use("run_shell", command="pwd; echo e >&2; exit 3") == {"exit_code": 3, "stdout": f"{workspace}\n", "stderr": "e\n"}
    assert use("run_shell", command="kill -9 $$")["exit_code"] == -9
    assert use("run_python", code="#" + "x" * 300_000 + "\nprint('long')")["stdout"] == "long\n"


def test_output_of_any_size_and_encoding_is_bounded(use: Use) -> None:
    """A hundred megabytes of output come back as their beginning and end; bytes that are no text are replaced."""
    found = use("run_shell", command="echo first; yes | head -c 100000000; echo last; printf '\\xff' >&2")
    assert found["stdout"].startswith("first")
    assert found["stdout"].endswith("last\n")
    assert len(found["stdout"]) < 40_000
    assert "left out" in found["stdout"]
    assert found["stderr"] == "\ufffd"


def test_a_program_left_behind_does_not_hold_the_tool(use: Use, workspace: Path) -> None:
    """A daemon that keeps the output open is not waited for: the tool returns when the program it started does."""
    started = time.monotonic()
    found = use("run_shell", command="setsid sleep 60 & echo $! > pid; echo started")
    os.kill(int((workspace / "pid").read_text()), signal.SIGKILL)
    assert found == {"exit_code": 0, "stdout": "started\n", "stderr": ""}
    assert time.monotonic() - started < 20


def test_a_program_that_reads_nothing_and_one_that_closes_its_output_end(use: Use) -> None:
    """Neither an unread input nor streams closed early hang or break the tool."""
    assert use("run_shell", options={"shell": "true"}, command="x" * 90_000)["exit_code"] == 0
    assert use("run_shell", command="exec >&- 2>&-; sleep 0.1; exit 4")["exit_code"] == 4
    use("run_shell", "too long", command="x" * 200_000)
    use("run_shell", "run_python", options={"shell": "/no/such/shell"}, command="true")


def test_any_function_can_be_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain and async functions work; whatever goes wrong in one is a line for the model."""
    (tmp_path / "own_tools.py").write_text(
        "from tether.agent.tools import ToolProblem\n"
        "import sys\n"
        "def good(workspace, args, options): return [str(workspace.name), args, options]\n"
        "async def later(workspace, args, options): return 'later'\n"
        "def told(workspace, args, options): raise ToolProblem('give a city')\n"
        "def broken(workspace, args, options): return {}['x']\n"
        "def leaves(workspace, args, options): sys.exit(5)\n"
        "def odd(workspace, args, options): return object()\n"
        "def huge(workspace, args, options): return 'x' * 5_000_000\n"
        "def narrow(args): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    work = tmp_path / "w"

    def run(name: str) -> dict[str, Any]:
        return tools.run(f"own_tools:{name}", work, {"a": 1}, {"b": 2})

    assert run("good") == {"ok": True, "result": ["w", {"a": 1}, {"b": 2}]}
    assert run("later") == {"ok": True, "result": "later"}
    said = {name: run(name) for name in ("told", "broken", "leaves", "odd", "huge", "narrow")}
    assert [answer["kind"] for answer in said.values()] == ["problem", "crash", "crash", "result", "result", "entry"]
    assert said["told"]["error"] == "give a city"
    assert said["broken"]["error"] == "KeyError: 'x'"
    assert "not JSON" in said["odd"]["error"]
    assert "file instead" in said["huge"]["error"]


def test_every_built_in_tool_can_be_called_and_is_described() -> None:
    """Each has an entry that takes the three arguments, a description and a schema whose required arguments exist."""
    for name, spec in tools.BUILTIN.items():
        assert spec.description
        assert set(spec.parameters["required"]) <= set(spec.parameters["properties"])
        assert json.dumps(spec.parameters)
        if name != tools.ASK_HUMAN:
            assert tools.load_entry(spec.entry, 3)
    configured = {
        "mine": {"entry": "m:f", "description": "d", "parameters": {"type": "object"}},
        "run_shell": {"idempotent": True},
    }
    offered = tools.offered(["mine", "run_shell", "web_fetch"], configured)
    assert (offered["mine"].entry, offered["run_shell"].idempotent, offered["web_fetch"].idempotent) == ("m:f", True, True)
    with pytest.raises(KeyError, match="unheard"):
        tools.offered(["unheard"], {})


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_tools_leave_no_process_and_no_descriptor(use: Use) -> None:
    """A hundred calls later the process has as many open files as before."""
    use("run_shell", command="true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        use("run_shell", command="true")
        use("write_file", path="a/b/c.txt", content="x")
        use("read_file", path="a/b/c.txt")
        use("list_files")
        use("read_file", "", path="a/missing/c")
    assert len(os.listdir("/proc/self/fd")) == before
