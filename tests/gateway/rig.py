"""A gateway process for tests, with what surrounds it: a real store, leased tasks, the supervisor's end of the channel."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import openai
from sqlalchemy import Row, create_engine, text

from tether import packets
from tether.store import Store, open_store
from tether.store.rows import Claim, NewWorker
from tether.task import Budget, Task, Timeouts

T = TypeVar("T")
PRICE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0, "context_window": 100_000, "max_output": 1000}


class Attempt:
    """A leased task that is admitted at the gateway."""

    def __init__(self, rig: Rig, claim: Claim, port: int, proxy_port: int, token: str) -> None:
        self.rig = rig
        self.claim = claim
        self.key = f"{claim.task_id}/{claim.attempt}"
        self.port = port
        self.proxy_port = proxy_port
        self.token = token

    @property
    def url(self) -> str:
        """The gateway's address for this attempt."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def proxy(self) -> str:
        """HTTP_PROXY for this attempt."""
        return f"http://tether:{self.token}@127.0.0.1:{self.proxy_port}"

    def openai(self, **more: Any) -> openai.OpenAI:
        """An official client, as the environment of the attempt would make it."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.token, **more)
        self.rig.clients.append(client)
        return client

    def async_openai(self, **more: Any) -> openai.AsyncOpenAI:
        """The same, asynchronous."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.token, **more)

    def anthropic(self, **more: Any) -> anthropic.Anthropic:
        """An official client, as the environment of the attempt would make it."""
        return anthropic.Anthropic(base_url=self.url, api_key=self.token, **more)

    @property
    def usage(self) -> dict[str, Any]:
        """The task's usage so far, with what is held in nano-dollars."""
        usage = self.rig.store.get(self.claim.task_id).usage
        return {**usage.document(), "held": usage.held_nanousd, "nanousd": usage.nanousd}

    def calls(self) -> list[Row[Any]]:
        """The rows of the calls table."""
        query = text("SELECT * FROM calls WHERE task_id = :task ORDER BY created_at_ms, call_id")
        with self.rig.database.connect() as connection:
            return list(connection.execute(query, {"task": self.claim.task_id}))

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Data of the task's events of these types."""
        return [dict(e.data) for e in self.rig.store.events(self.claim.task_id, limit=1000) if e.type in types]

    def settled(self, n: int) -> list[dict[str, Any]]:
        """Wait until n calls or web requests have ended; their events' data."""
        return eventually(lambda: (got := self.events("call_ended", "web_request")) and len(got) >= n and got)


class Rig:
    """Store, provider and gateway process; `told` has every packet of the gateway."""

    def __init__(self, folder: Path, configure: Mapping[str, Any]) -> None:
        self.url = configure.get("store_url") or f"sqlite:///{folder / 'tether.db'}"
        self.store: Store = open_store(self.url, migrate=True)
        self.database = create_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
        self.configure = {"op": "configure", "limits": {}, **configure, "store_url": self.url}
        self.told: list[dict[str, Any]] = []
        self.clients: list[openai.OpenAI] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._worker = f"worker-{os.getpid()}-{folder.name}"
        facts = {"host": "h", "boot_id": "b", "pid": os.getpid(), "start_time": 1, "slots": 9, "agents": ("mine",)}
        self.store.register_worker(NewWorker(id=self._worker, **facts), lease_s=600)  # type: ignore[arg-type]

    def start(self, wait: bool = True) -> None:
        """Start the gateway and wait until it is ready."""
        if self.process is not None:
            self.channel.close()
        self.channel, theirs = packets.pair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tether.gateway", str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
        theirs.close()
        packets.send(self.channel, self.configure)
        if wait:
            said = self.wait_told(lambda p: p["op"] in ("ready", "failed"), within_s=30)
            assert said["op"] == "ready", said

    def stop(self) -> None:
        """End the gateway as a supervisor's end would."""
        for client in self.clients:
            client.close()
        if self.process is not None:
            self.channel.close()
            try:
                self.process.wait(10)
            finally:
                self.process.kill()
                self.process.wait()
        self.store.close()
        self.database.dispose()

    def send(self, packet: dict[str, Any], fds: list[int] | None = None) -> None:
        """Say something as the supervisor."""
        packets.send(self.channel, packet, fds or [])

    def wait_told(self, wanted: Callable[[dict[str, Any]], bool], within_s: float = 10.0) -> dict[str, Any]:
        """The first packet of the gateway, old or new, that is wanted."""
        deadline = time.monotonic() + within_s
        seen = 0
        while True:
            for packet in self.told[seen:]:
                if wanted(packet):
                    return packet
            seen = len(self.told)
            left = deadline - time.monotonic()
            assert left > 0, f"not told in {within_s} s; told {self.told}"
            if select.select([self.channel], [], [], left)[0]:
                got = packets.receive(self.channel)
                assert got is not None, f"the gateway is gone; told {self.told}"
                self.told.append(got[0])

    def lease(self, **budget: Any) -> Claim:
        """A submitted and claimed task."""
        limits = Budget.of(budget)
        self.store.submit(Task(goal="go", agent="mine"), budget=limits, timeouts=Timeouts())
        (claim,) = self.store.claim(self._worker, ["mine"], 1)
        return claim

    def admit(self, claim: Claim, sockets: tuple[socket.socket, socket.socket] | None = None, **more: Any) -> Attempt:
        """Admit an attempt with both listeners."""
        pair = sockets or (listener(), listener())
        key, token = f"{claim.task_id}/{claim.attempt}", f"tth_{claim.lease_token}"
        packet = {
            "op": "admit",
            "key": key,
            "task_id": claim.task_id,
            "attempt": claim.attempt,
            "token": token,
            "model_default": "m",
        }
        more = {"lease_token": claim.lease_token, "listeners": ["gateway", "proxy"], **more}
        self.send({**packet, **more}, [s.fileno() for s in pair])
        self.wait_told(lambda p: p["op"] == "admitted" and p["key"] == key)
        ports = [s.getsockname()[1] for s in pair]
        if sockets is None:
            for sock in pair:
                sock.close()
        return Attempt(self, claim, ports[0], ports[1], token)

    def attempt(self, **budget: Any) -> Attempt:
        """A leased and admitted task."""
        return self.admit(self.lease(**budget))


def listener() -> socket.socket:
    """A listening socket on loopback."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


def eventually(look: Callable[[], T], within_s: float = 10.0) -> T:
    """The first true answer of `look`."""
    deadline = time.monotonic() + within_s
    while not (got := look()):
        assert time.monotonic() < deadline, f"not so in {within_s} s"
        time.sleep(0.02)
    return got


@contextmanager
def running(folder: Path, upstream: str, **configure: Any) -> Iterator[Rig]:
    """A gateway with model m (priced) and model free, both at `upstream`."""
    model = {"upstream": upstream, "model": "scripted", "key": "sk-provider-key"}
    free = {"upstream": upstream, "model": "costless", "free": True, "key": "sk-provider-key"}
    models = {"m": model, "free": free, **configure.pop("models", {})}
    fast = {"retry": {"tries": 4, "first_s": 0.05, "longest_s": 0.1, "retry_after_s": 0.3}}
    rig = Rig(folder, {"models": models, "prices": {"scripted": PRICE}, **fast, **configure})
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()
