"""The zygote from its first instruction to its first order: configured, imported, warm, single-threaded, hidden.

An entry that cannot be imported before a fork (it starts threads) is imported in every attempt instead: the zygote then
executes itself anew and stays without it.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import importlib
import io
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tether import packets
from tether.agent import adapters, confine, heap, sandbox, seccomp, syscalls, visible
from tether.agent.offer import Offer
from tether.agent.zygote import Zygote

__all__ = ["BOOTSTRAP", "main"]

#: Run with `python -c`: arguments are the folder of this package, the control socket and, for `fresh`, a configuration.
BOOTSTRAP = """\
import sys
if sys.version_info < (3, 11):
    sys.exit("this is Python %d.%d; agents need 3.11 or newer" % sys.version_info[:2])
if sys.path[:1] == [""]:
    del sys.path[0]
from importlib.util import module_from_spec, spec_from_file_location
home = sys.argv[1]
spec = spec_from_file_location("tether", home + "/__init__.py", submodule_search_locations=[home])
sys.modules["tether"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["tether"])
from tether.agent.boot import main
main(sys.argv[2:])
"""


@dataclass(frozen=True, kw_only=True)
class _Refused(Exception):
    """The zygote cannot serve; `field` names the key of the configuration."""

    field: str
    problem: str
    remedy: str


def main(arguments: list[str]) -> NoReturn:
    """Be a zygote on the control socket of descriptor arguments[0]; arguments[1], if any, is a configuration for `fresh`."""
    # Not SIGKILL: what namespaces do not hold together has to be ended by us before we go.
    syscalls.die_with_parent(signal.SIGTERM)
    os.umask(0o022)
    _write_plainly()
    control = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    fresh = len(arguments) > 1
    config = _configuration_left(int(arguments[1])) if fresh else _configuration_sent(control)
    try:
        ready, zygote = _prepare(control, config, fresh)
    except _Refused as refused:
        said = {"op": "failed", "field": refused.field, "problem": refused.problem, "remedy": refused.remedy}
        with contextlib.suppress(packets.LinkClosed):
            packets.send(control, said)
        os._exit(1)
    _kept = _settle()
    zygote.send(ready)
    zygote.serve()


class _Plain(io.FileIO):
    """A standard stream that may turn from a file into a pipe under its writer, as every attempt makes it do."""

    def seekable(self) -> bool:
        return False


def _write_plainly() -> None:
    """Standard streams that send each line at once: what a killed process buffered is lost."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(_Plain(fd, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True))


def _configuration_sent(control: socket.socket) -> dict[str, Any]:
    received = packets.receive(control)
    if received is None:
        os._exit(0)
    return received[0]


def _configuration_left(memory: int) -> dict[str, Any]:
    with os.fdopen(memory, "rb") as file:
        return json.loads(file.read())


def _prepare(control: socket.socket, config: Mapping[str, Any], fresh: bool) -> tuple[dict[str, Any], Zygote]:
    code_dir = _enter_code_dir(config)
    syscalls.become_subreaper()
    notes = [] if fresh else _warm(control, config)
    offer = Offer.of(config, code_dir)
    walls = _chosen(offer, config)
    zygote = Zygote(control, code_dir, offer)
    ready = {
        "op": "ready",
        "threads": len(os.listdir("/proc/self/task")),
        "mode": "fresh" if fresh else "fork",
        "pid": os.getpid(),
        "walls": walls.document(),
        "uids": offer.uids(walls),
        "notes": [*notes, *_unseen(config, code_dir), *([offer.note] if offer.note else [])],
    }
    return ready, zygote


def _warm(control: socket.socket, config: Mapping[str, Any]) -> list[str]:
    """Import everything, and undo what of it must not be inherited; what there is to say about it."""
    before = _descriptors()
    notes = _import_all(config)
    _leave_threads_behind(control, config)
    confine.reset_signals()
    return notes + _blank_out(_descriptors() - before)


def _unseen(config: Mapping[str, Any], code_dir: str | None) -> list[str]:
    """What to add for modules that attempts could not import; never added unasked, keys may lie beside code."""
    if config.get("kind") != "python":
        return []
    folders = visible.unseen(code_dir, config.get("readable") or ())
    if not folders:
        return []
    remedy = f"if they need it, add readable = {json.dumps(folders)} to [agents.{config.get('name', '')}]"
    return [f"attempts cannot import what is in {', '.join(folders)}: {remedy}"]


def _settle() -> tuple[object, ...]:
    """Nothing is buffered or computed later that could be now: every attempt is a copy of this process. Keep what it returns."""
    seccomp.prepare()
    codecs.lookup("ascii")  # every init writes a file in it, and would import it
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    kept = heap.filled_gaps()
    gc.freeze()
    syscalls.set_dumpable(False)
    return kept


def _chosen(offer: Offer, config: Mapping[str, Any]) -> sandbox.Walls:
    try:
        return offer.chosen(str(config.get("isolation") or "auto"))
    except ValueError as error:
        remedy = 'allow user namespaces on this machine (`tether doctor` says how), or set isolation = "cooperative"'
        field = f"agents.{config.get('name', '')}.isolation"
        raise _Refused(field=field, problem=f"cannot be enforced here: {error}", remedy=remedy) from None


def _enter_code_dir(config: Mapping[str, Any]) -> str | None:
    code_dir = config.get("code_dir")
    if not code_dir:
        return None
    try:
        os.chdir(code_dir)
    except OSError as error:
        remedy = "name the folder the agent's code is in, relative to tether.toml"
        field = f"agents.{config.get('name', '')}.code_dir"
        raise _Refused(field=field, problem=f"{code_dir}: {error.strerror}", remedy=remedy) from None
    if config.get("kind") not in ("builtin", "command"):  # a command's folder holds no modules of this process
        sys.path.insert(0, code_dir)
    return os.path.abspath(code_dir)


def _import_all(config: Mapping[str, Any]) -> list[str]:
    """Import what attempts will need; a tool that cannot be imported says so when it is called."""
    kind = config.get("kind")
    if kind == "builtin":
        from tether.agent import rehearsal

        rehearsal.rehearse(config.get("builtin") or {})
    elif kind == "python":
        problem = adapters.validate_entry(str(config.get("entry") or ""))
        if problem is not None:
            raise _Refused(field=f"agents.{config.get('name', '')}.entry", problem=problem[0], remedy=problem[1])
    notes: list[str] = []
    for entry in config.get("tools") or ():
        try:
            importlib.import_module(str(entry).partition(":")[0])
        except BaseException as error:
            notes.append(f"the tool {entry} cannot be imported: {type(error).__name__}: {error}")
    return notes


def _leave_threads_behind(control: socket.socket, config: Mapping[str, Any]) -> None:
    """Threads do not survive a fork and may hold locks: with any alive, start over without the imports."""
    if len(os.listdir("/proc/self/task")) == 1:
        return
    memory = os.memfd_create("configuration", 0)
    os.write(memory, json.dumps(dict(config)).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.set_inheritable(control.fileno(), True)
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.execv(sys.executable, [sys.executable, "-c", BOOTSTRAP, home, str(control.fileno()), str(memory)])


def _descriptors() -> set[int]:
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")}


def _blank_out(opened: set[int]) -> list[str]:
    """Put /dev/null behind every descriptor the imports left open: an attempt must not inherit a way around its walls."""
    found: list[str] = []
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in sorted(opened - {null}):
        with contextlib.suppress(OSError):
            kind = os.fstat(fd).st_mode
            if not stat.S_ISCHR(kind):
                found.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.dup2(null, fd, inheritable=False)
    os.close(null)
    return [f"opened while it was imported, /dev/null in attempts: {', '.join(found[:10])}"] if found else []
