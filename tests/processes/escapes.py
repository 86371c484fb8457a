"""What hostile code tries from inside an attempt; prints one JSON object: what was tried → why it failed, or null when it worked.

Run as a program by an attempt: escapes.py FACTS, a JSON object of paths, ports and process ids of the outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

FACTS: dict[str, Any] = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def _dial(kind: int, address: Any, family: int = socket.AF_INET) -> None:
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        for _ in range(3):
            # Nobody there is told only to the second datagram.
            sock.send(b"x")


def _mptcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", FACTS["tcp"]))


def _setuid_program() -> None:
    done = subprocess.run(["su", "-c", "true"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)
    if done.returncode:
        raise PermissionError("su failed")


def _capability() -> None:
    with open("/proc/self/status") as file:
        held = [line for line in file if line.startswith(("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"))]
    if not any(int(line.split()[1], 16) for line in held):
        raise PermissionError("none held")


TRIED: dict[str, Callable[[], Any]] = {
    "read_secret": lambda: _read(FACTS["secret"]),
    "list_secret": lambda: os.listdir(os.path.dirname(FACTS["secret"])),
    "read_hidden_file": lambda: _check_text(FACTS["dotenv"]),
    "read_hidden_folder": lambda: _read(FACTS["store"]),
    "read_shadow": lambda: _read("/etc/shadow"),
    "write_outside": lambda: _write(FACTS["writable"]),
    "write_code": lambda: _write(os.path.join(FACTS["code"], "planted.py")),
    "write_system": lambda: _write("/usr/planted"),
    "truncate_outside": lambda: os.truncate(FACTS["writable"], 0),
    "link_out": lambda: os.link(FACTS["writable"], "linked"),
    "follow_link_out": lambda: (os.symlink(FACTS["secret"], "symlinked"), _read("symlinked")),
    "chmod_outside": lambda: os.chmod(FACTS["writable"], 0o777),
    "utime_outside": lambda: os.utime(FACTS["writable"]),
    "tcp_out": lambda: _dial(socket.SOCK_STREAM, ("127.0.0.1", FACTS["tcp"])),
    "mptcp_out": _mptcp,
    "udp_out": lambda: _dial(socket.SOCK_DGRAM, ("127.0.0.1", FACTS["udp"])),
    "unix_path": lambda: _dial(socket.SOCK_STREAM, FACTS["unix"], socket.AF_UNIX),
    "unix_abstract": lambda: _dial(socket.SOCK_STREAM, FACTS["abstract"], socket.AF_UNIX),
    "packet_socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "raw_socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "signal_supervisor": lambda: os.kill(FACTS["supervisor"], 0),
    "signal_zygote": lambda: os.kill(FACTS["zygote"], 0),
    "signal_init": lambda: os.kill(FACTS["init"], 0),
    "environ_of_supervisor": lambda: _read(f"/proc/{FACTS['supervisor']}/environ"),
    "environ_of_zygote": lambda: _read(f"/proc/{FACTS['zygote']}/environ"),
    "environ_of_init": lambda: _read(f"/proc/{FACTS['init']}/environ"),
    "ptrace": lambda: _checked(libc.ptrace(16, FACTS["init"], 0, 0)),
    "mount": lambda: _checked(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None)),
    "unshare_user": lambda: _checked(libc.unshare(0x1000_0000)),
    "unshare_net": lambda: _checked(libc.unshare(0x4000_0000)),
    "clone_user": lambda: subprocess.run(["unshare", "-U", "true"], check=True, capture_output=True),
    "setuid": lambda: os.setuid(0 if os.getuid() else 1),
    "setuid_program": _setuid_program,
    "capability": _capability,
    "keyring": lambda: _checked(libc.syscall(250, 0, -3, 0)),
    "io_uring": lambda: _checked(libc.syscall(425, 8, 0)),
    "bpf": lambda: _checked(libc.syscall(321, 0, 0, 0)),
    "sysctl": lambda: _write("/proc/sys/kernel/hostname"),
    "core_pattern": lambda: _read("/proc/kcore"),
    "priority": lambda: os.nice(-5),
    "kill_all": lambda: os.kill(FACTS["supervisor"], signal.SIGCONT),
}


def _check_text(path: str) -> None:
    with open(path) as file:
        if not file.read():
            raise PermissionError("it is empty")


def main() -> None:
    results: dict[str, str | None] = {}
    for name, attempt in TRIED.items():
        try:
            attempt()
            results[name] = None
        except (OSError, subprocess.SubprocessError) as error:
            results[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))


main()
