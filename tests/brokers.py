"""Real brokers for tests, benchmarks and development: Redis, RabbitMQ and moto's SQS and S3, each private and on loopback.

Each can be stopped and started again on the same port (empty, as after a loss), frozen and thawed. `url` is what [queue] takes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from servers import ServerMissing, free_port

_START_S = 90.0
_STOP_S = 20.0
#: The whole process group ends with the server, and with us: whatever kills us closes the pipe that is read here.
_GUARDED = '{ "$@"; kill -9 -$$; } & read -r _; kill -9 -$$'


class Server:
    """A server process of its own in a temporary folder; the subclass says what to start and when it is ready."""

    name = "server"

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"tether-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id while it is started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and return once it answers; raises OSError with the end of its log."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARDED, "sh", *self.command()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.close()
                raise OSError(f"{self.name} did not start: {text}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGKILL the server and all its processes; nothing it held is kept."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self.forget()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self) -> Sequence[str]:
        """What to start."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Further variables."""
        return {}

    def is_ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def forget(self) -> None:
        """Remove what it wrote."""


class Broker(Protocol):
    """What tests do to a broker, whichever it is."""

    name: str

    @property
    def settings(self) -> dict[str, Any]: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Redis(Server):
    """redis-server without persistence."""

    name = "redis"

    @property
    def url(self) -> str:
        """The queue's URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def settings(self) -> dict[str, Any]:
        """The [queue] section."""
        return {"url": self.url}

    def command(self) -> Sequence[str]:
        program = _program("redis-server", "redis-server")
        return [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def flush(self) -> None:
        """Lose every message."""
        import redis

        with redis.Redis(port=self.port) as client:
            client.flushall()


class RabbitMQ(Server):
    """rabbitmq-server with a node, port mapper and data of its own."""

    name = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self._node = f"tether{self.port}@localhost"
        self._mapper, self._distribution = free_port(), free_port()

    @property
    def url(self) -> str:
        """The queue's URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def settings(self) -> dict[str, Any]:
        """The [queue] section."""
        return {"url": self.url}

    def command(self) -> Sequence[str]:
        # The wrapper on the path changes to the account of the system's own server; the program itself does not.
        program = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin:/usr/local/sbin:/opt/homebrew/sbin")
        return [program or _program("rabbitmq-server", "rabbitmq-server")]

    def environment(self) -> Mapping[str, str]:
        return {
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
            "RABBITMQ_FEATURE_FLAGS": "",
            "HOME": str(self.folder),
        }

    def is_ready(self) -> bool:
        import amqp

        if not super().is_ready():
            return False
        connection = amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=2, read_timeout=2)
        try:
            connection.connect()
        except (OSError, amqp.AMQPError):
            return False
        connection.close()
        return True

    def stop(self) -> None:
        super().stop()
        # The port mapper leaves the process group; it is found by its port, which only it was given.
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"ERL_EPMD_PORT={self._mapper}\0".encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def forget(self) -> None:
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def flush(self) -> None:
        """Lose every message."""
        import kombu

        with kombu.Connection(self.url) as connection, connection.channel() as channel:
            for name in self.queues:
                channel.queue_purge(name)

    #: the queues that flush() empties
    queues: Sequence[str] = ("tether.counted",)


class Moto(Server):
    """moto's server: SQS and S3 that forget everything on `flush`."""

    name = "moto"

    def __init__(self, *, fifo: bool = False) -> None:
        super().__init__()
        self._fifo = fifo

    @property
    def endpoint(self) -> str:
        """http://host:port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """The [queue] section."""
        return {"url": "sqs://test:test@", "region": "us-east-1", "endpoint": self.endpoint, "fifo": self._fifo}

    def command(self) -> Sequence[str]:
        return [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def flush(self) -> None:
        """Lose every message, and every queue too."""
        import urllib.request

        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def bucket(self, name: str) -> str:
        """Make an S3 bucket; its URL."""
        import boto3

        client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}"


#: every broker that tests go through, by name
BROKERS: Mapping[str, Callable[[], Broker]] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "sqs": Moto,
    "sqs-fifo": lambda: Moto(fifo=True),
}


@contextlib.contextmanager
def running(make: Callable[[], Broker]) -> Iterator[Broker]:
    """A started broker, gone afterwards."""
    broker = make()
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServerMissing(f"no {name}; install it (`apt-get install {package}`)")
    return found
