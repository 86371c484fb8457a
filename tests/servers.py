"""Real servers for tests, benchmarks and development: each private, on a free loopback port, gone with its owner.

`python tests/servers.py` (make services) starts them in the foreground and prints their URLs.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

POSTGRES_URL = "TETHER_TEST_POSTGRES_URL"
_START_S = 60.0
_STOP_S = 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ServerMissing(Exception):
    """A server program is not installed; the message says how to install it."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _unprivileged(name: str) -> str | None:
    """The account a server should have when we are root (PostgreSQL refuses root); None: our own."""
    if os.geteuid() != 0:
        return None
    for user in (name, "nobody"):
        try:
            return pwd.getpwnam(user).pw_name
        except KeyError:
            continue
    return None


def _die_with_parent() -> None:
    # runs in the child after its uid changed (setuid would clear it): SIGQUIT is PostgreSQL's immediate shutdown
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def postgres_programs() -> Path:
    """The folder of the newest installed PostgreSQL server; raises ServerMissing."""
    roots = [Path("/usr/lib/postgresql"), Path("/opt/homebrew/opt"), Path("/usr/local/opt")]
    found = [p.parent for root in roots for p in root.glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).parent)
    if not found:
        raise ServerMissing("no PostgreSQL server; install it (`apt-get install postgresql`) or set TETHER_TEST_POSTGRES_URL")
    return max(found, key=lambda folder: [int(part) for part in folder.parent.name.split(".") if part.isdigit()])


class Postgres:
    """A PostgreSQL cluster of its own in a temporary folder, with a password, on loopback only.

    durable: True keeps fsync on (for figures); False is faster and still survives kill -9 of the server, not of the machine.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._programs = postgres_programs()
        self._durable = durable
        self._user = _unprivileged("postgres")
        self._folder = Path(tempfile.mkdtemp(prefix="tether-postgres-"))
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.port = free_port()

    @property
    def url(self) -> str:
        """URL of the maintenance database."""
        return self.url_of("postgres")

    @property
    def pid(self) -> int:
        """The postmaster's process id while it is started."""
        assert self._process is not None
        return self._process.pid

    def url_of(self, database: str) -> str:
        """URL of one database."""
        return f"postgresql://tether:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Postgres:
        """Make the cluster the first time, start it, return once it answers."""
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        data = self._folder / "data"
        if not data.exists():
            self._init(data)
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                preexec_fn=_die_with_parent,
                cwd="/",
            )
        self._wait_until_ready()
        return self

    def database(self) -> str:
        """URL of a new, empty database."""
        self._made += 1
        return make_database(self.url, f"tether_{self._made}")

    def kill(self) -> None:
        """SIGKILL the postmaster; returns once its children have noticed, as it cannot start again before."""
        pid = 0 if self._process is None else self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + _STOP_S
        while any(_alive(child) for child in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def restart(self) -> None:
        """Shut down at once (connections break) and start again on the same port and data."""
        self._end(signal.SIGQUIT)
        self.start()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _init(self, data: Path) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        secret.chmod(0o600)
        if self._user is not None:
            shutil.chown(secret, self._user)
        command = [str(self._programs / "initdb"), "-D", str(data), "-U", "tether", "--pwfile", str(secret)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        done = subprocess.run(
            command,
            user=self._user,
            extra_groups=None if self._user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise OSError(f"initdb failed: {done.stderr.strip()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, timeout=_START_S, check=False).returncode != 0:
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"PostgreSQL did not start: {(self._folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_STOP_S)
        self._process = None


@contextmanager
def postgres() -> Iterator[str]:
    """URL of a server where databases may be made: TETHER_TEST_POSTGRES_URL, else a private one; raises ServerMissing."""
    given = os.environ.get(POSTGRES_URL)
    if given:
        yield given
        return
    server = Postgres()
    try:
        yield server.start().url
    finally:
        server.stop()


def make_database(admin_url: str, name: str) -> str:
    """URL of a new, empty database `name` beside the one of `admin_url`."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(admin_url)._replace(path=f"/{name}"))


def main() -> int:
    """Start every server, print the URLs, wait for Ctrl-C or SIGTERM."""
    from brokers import BROKERS, Broker

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    started: list[Broker] = []
    try:
        with postgres() as url:
            print(f"PostgreSQL  {make_database(url, 'tether')}", flush=True)
            for name in ("redis", "rabbitmq", "sqs"):
                started.append(broker := BROKERS[name]())
                broker.start()
                given = {key: value for key, value in broker.settings.items() if value}
                print(f"{name:<11} {' '.join(f'{key}={value}' for key, value in given.items())}", flush=True)
            print("Ctrl-C stops them and removes their data.", flush=True)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    except ServerMissing as missing:
        print(f"services: {missing}", file=sys.stderr)
        return 1
    finally:
        for broker in started:
            broker.close()
    return 0


if __name__ == "__main__":
    import servers  # under its own name, or brokers would have another ServerMissing

    sys.exit(servers.main())
