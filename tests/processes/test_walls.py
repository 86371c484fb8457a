"""The three walls, tried from inside by hostile code."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stage import Stage, open_the_way
from tether import packets
from tether.agent import landlock, sandbox

Setting = Callable[..., Stage]
ESCAPES = Path(__file__).with_name("escapes.py")

# Without namespaces these stay open, and the walls say so: the host's process ids can be named, files of the worker's own
# user can have their modes changed where attempts have no user of their own.
NAMED_PROCESSES = {"signal_supervisor", "signal_zygote", "signal_init", "kill_all"}
OWN_FILES = {"chmod_outside", "utime_outside"}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Things of the host an attempt must not reach: files, listeners, sockets, processes."""
    private, code = tmp_path / "private", tmp_path / "project"
    for folder in (private, code, code / "store"):
        folder.mkdir()
    for file in (private / "secret", private / "writable", code / ".env", code / "store" / "tether.db"):
        file.write_text("secret")
        file.chmod(0o666)
    (code / "escapes.py").write_text(ESCAPES.read_text())
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    unix, abstract = (socket.socket(socket.AF_UNIX) for _ in range(2))
    unix.bind(str(code / "socket"))
    abstract.bind(f"\0tether-test-{os.getpid()}")
    for sock in (unix, abstract):
        sock.listen()
    os.chmod(code / "socket", 0o777)
    udp.setblocking(False)
    yield {
        "secret": str(private / "secret"),
        "writable": str(private / "writable"),
        "dotenv": str(code / ".env"),
        "store": str(code / "store" / "tether.db"),
        "code": str(code),
        "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1],
        "unix": str(code / "socket"),
        "abstract": f"\0tether-test-{os.getpid()}",
        "supervisor": os.getpid(),
    }
    with pytest.raises(BlockingIOError):
        udp.recv(1)
    for sock in (tcp, udp, unix, abstract):
        sock.close()


def _escaped(acting: Stage, outside: dict[str, Any]) -> dict[str, str | None]:
    facts = outside | {"zygote": acting.zygote.pid, "init": 1 if acting.inside else acting.zygote.pid}
    workspace = Path(outside["code"]) / "store" / "workspace"
    command = [sys.executable, "escapes.py", json.dumps(facts)]
    attempt = acting.start(command, hidden=[str(Path(outside["code"]) / "store")], workspace=workspace)
    attempt.hears("agent_exited", status=0)
    return json.loads(attempt.stdout.text())


def test_nothing_gets_out(setting: Setting, outside: dict[str, Any]) -> None:
    """Files, network, processes, kernel: what is called enforced is refused whatever is tried."""
    acting = setting(kind="command", code_dir=outside["code"])
    escaped = {name for name, why in _escaped(acting, outside).items() if why is None}
    if acting.inside:
        assert escaped == set()
        return
    allowed = set(OWN_FILES)
    if landlock.abi() < 6:
        allowed |= NAMED_PROCESSES
    if landlock.abi() < sandbox.landlock.FILES_ABI:
        pytest.skip("this kernel's Landlock cannot hold files")
    assert escaped <= allowed


def test_the_way_out_is_the_listener_inside(setting: Setting, namespaces: str | None) -> None:
    """In namespaces the attempt has its own gateway and proxy addresses, and whoever holds the listeners answers there."""
    acting = setting(kind="command")
    if namespaces is not None or acting.isolation == "cooperative":
        acting.start(["true"]).hears(
            "up", walls={"files": acting.ready.files, "processes": "cooperative", "network": "cooperative"}
        )
        return
    script = "import os,urllib.request as u; print(u.urlopen(os.environ['TETHER_LINK_URL'], timeout=10).read())"
    attempt = acting.start([sys.executable, "-c", script])
    attempt.hears("up", walls={"files": "enforced", "processes": "enforced", "network": "enforced"})
    assert [listener.getsockname() for listener in attempt.listeners] == [("127.0.0.1", 8080), ("127.0.0.1", 8081)]
    attempt.listeners[0].settimeout(10)
    caller, _ = attempt.listeners[0].accept()
    with caller:
        assert caller.recv(4096).startswith(b"GET /link ")
        caller.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
    attempt.prints("b'hello'")


def test_what_an_attempt_may_use_works(setting: Setting, tmp_path: Path) -> None:
    """Workspace, writable and temporary folders, readable files, shared memory, subprocesses, threads, TLS roots, own sockets."""
    for name in ("readable", "writable"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    (tmp_path / "readable" / "data").write_text("data")
    open_the_way(tmp_path)
    acting = setting(kind="command")
    script = f"""
import os, pathlib, socket, ssl, subprocess, sys, tempfile, threading, pwd, getpass
assert open({str(tmp_path / "readable" / "data")!r}).read() == "data"
os.rename(tempfile.mkstemp(dir=os.environ["TETHER_WORKSPACE"])[1], os.environ["TETHER_WORKSPACE"] + "/kept")
os.mkdir("{tmp_path}/writable/folder")
tempfile.TemporaryFile().write(b"x")
assert subprocess.run([sys.executable, "-c", "print(6*7)"], capture_output=True).stdout == b"42\\n"
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 0 or not os.path.exists("/etc/ssl/certs")
socket.socketpair()
threading.Thread(target=print).start()
assert getpass.getuser() == "agent"
open("/dev/null", "w").write("x"), os.urandom(8), open("/dev/urandom", "rb").read(1)
if {acting.inside}:
    import multiprocessing
    multiprocessing.Lock()
    assert sorted(p for p in os.listdir("/proc") if p.isdigit())[:2] == ["1", "2"]
    server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
print("all well", flush=True)
"""
    paths = {"readable": [str(tmp_path / "readable")], "writable": [str(tmp_path / "writable")]}
    attempt = acting.start([sys.executable, "-c", script], **paths)
    attempt.prints("all well")
    assert attempt.stderr.text() == ""
    assert (attempt.workspace / "kept").exists()


def test_attempts_do_not_see_each_other(setting: Setting) -> None:
    """The workspace of one attempt is not readable from another of the same agent."""
    acting = setting(kind="command")
    first = acting.start(["sh", "-c", "echo mine > $TETHER_WORKSPACE/file && echo done"])
    first.prints("done")
    second = acting.start(["sh", "-c", f"cat {first.workspace}/file || echo refused"])
    second.prints("refused")


def test_tools_have_the_same_walls(setting: Setting, outside: dict[str, Any]) -> None:
    """A tool reads nothing its agent may not read, and sees no process but its own."""
    source = "def agent(task, link):\n    import time\n    print('asleep', flush=True)\n    time.sleep(1000)\n"
    source += "def look(workspace, args, options):\n    import os\n    found = {}\n    for path in args['paths']:\n"
    source += "        try:\n            found[path] = open(path).read()\n        except OSError as error:\n"
    source += (
        "            found[path] = None\n    pids = [p for p in os.listdir('/proc') if p.isdigit()] if args['proc'] else []\n"
    )
    source += "    return {'found': found, 'pids': len(pids)}\n"
    (Path(outside["code"]) / "looking.py").write_text(source)
    acting = setting(entry="looking:agent", code_dir=outside["code"])
    attempt = acting.start()
    attempt.prints("asleep")
    paths = [outside["secret"], "/etc/shadow", outside["code"] + "/.env"]
    answer = attempt.tool("looking:look", paths=paths, proc=acting.inside).answer()["result"]
    assert not any(answer["found"].values())
    assert answer["pids"] == (2 if acting.inside else 0)
    packets.send(attempt.ctl, {"op": "end"})


def test_the_probe_says_what_the_zygote_says(setting: Setting, isolation: str) -> None:
    """`tether doctor` and a started zygote agree on the walls of this machine."""
    probed, ready = sandbox.probe(), setting(kind="command").ready
    if isolation == "enforced":
        assert (ready.files, ready.processes, ready.network) == (probed["files"], probed["processes"], probed["network"])
        assert ready.why == probed["why"] == {}
    else:
        assert (ready.processes, ready.network) == ("cooperative", "cooperative")
        assert set(ready.why) >= {"processes", "network"}


def test_a_worker_that_is_root_shows_what_only_root_may_pass(setting: Setting, tmp_path: Path) -> None:
    """Code in the closed home of another user can be used where namespaces are; elsewhere the refusal says what to open."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    code = tmp_path / "home" / "code"
    code.mkdir(parents=True)
    os.chown(code.parent, 4242, 4242)
    code.parent.chmod(0o700)
    (code / "file").write_text("shown")
    acting = setting(kind="command", code_dir=str(code))
    attempt = acting.start(["cat", "file"])
    status = attempt.hears("agent_exited")["status"]
    if acting.inside:
        assert (status, attempt.stdout.text()) == (0, "shown")
    else:
        assert os.waitstatus_to_exitcode(status) == 126
        assert "chmod o+x" in attempt.stderr.text()


def test_keys_beside_certificates_stay_closed(setting: Setting) -> None:
    """Of the host's TLS folders only certificates are shown."""
    attempt = setting(kind="command").start(
        ["sh", "-c", "ls /etc/ssl/private 2>/dev/null; ls /etc/ssl/certs >/dev/null && echo end"]
    )
    assert attempt.prints("end\n") == "end\n"
