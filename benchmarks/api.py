"""The API as one process: submissions, lists among a million tasks, readers of streams and how soon they hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp

from api_server import ApiProcess
from rows import Row, median
from servers import Postgres, ServerMissing
from tether.events import NewEvent
from tether.store import open_store
from tether.store.ids import time_bound
from tether.store.rows import Append
from tether.store.tables import budgets, payloads, tasks

_BODY = json.dumps({"goal": "Research competitors and prepare a report", "budget": {"max_usd": 5}}).encode()
_TASKS = 1_000_000
_READERS = 1_000


def rows() -> Iterator[Row]:
    """Figures of the API."""
    with _api() as (api, _):
        yield from _submissions(api, "SQLite", 400)
        paced = asyncio.run(_paced(api, 200, 5.0))
        yield Row(name="submission at 200/s, p99", value=_p99(paced), unit="ms", goal=50, note="SQLite")
        yield from asyncio.run(_streams(api))
    with contextlib.suppress(ServerMissing), _postgres() as url, _api(url) as (api, _):
        yield from _submissions(api, "PostgreSQL", 600)
    with _api() as (api, folder):
        _fill(folder)
        for name, query in (("", ""), (", by state", "&state=failed"), (", by type", "&task_type=report")):
            took = asyncio.run(_lists(api, query))
            yield Row(name=f"list of 50 among {_TASKS:,} tasks{name}, p99", value=_p99(took), unit="ms", goal=30)


@contextlib.contextmanager
def _api(store_url: str = "") -> Iterator[tuple[ApiProcess, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="tether-bench-"))
    made = ApiProcess(folder, store_url or f"sqlite:///{folder}/tether.db", TETHER_API__RATE_PER_S="100000")
    try:
        yield made.start(), folder
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop(kill=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    server = Postgres(durable=True).start()
    try:
        url = server.database()
        open_store(url, migrate=True).close()
        yield url
    finally:
        server.stop()


def _client(api: ApiProcess) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=_READERS + 50)
    return aiohttp.ClientSession(api.url, headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None))


async def _ms(request: Callable[[], Awaitable[int]], expected: int) -> float:
    began = time.monotonic()
    status = await request()
    assert status == expected, status
    return (time.monotonic() - began) * 1000


def _submissions(api: ApiProcess, store: str, goal: float) -> Iterator[Row]:
    cpu_before = _cpu_s(api)
    count, took_s = asyncio.run(_flat_out(api, 5.0))
    cpu_ms = (_cpu_s(api) - cpu_before) * 1000 / count
    yield Row(name="POST /v1/tasks", value=count / took_s, unit="/s", goal=goal, at_most=False, note=store)
    yield Row(name="its CPU in the server", value=cpu_ms, unit="ms", note=store)


class _Wire:
    """A connection that submits and costs next to nothing, as the client shares the server's cores."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        head = f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        self._request = f"{head}content-length: {len(_BODY)}\r\n\r\n".encode() + _BODY

    async def post(self) -> int:
        """Submit one task; the status."""
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        return int(head[9:12])


@contextlib.asynccontextmanager
async def _wires(api: ApiProcess, number: int) -> AsyncIterator[list[_Wire]]:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(number)]
    yield [_Wire(reader, writer, api.key) for reader, writer in streams]
    for _, writer in streams:
        writer.close()


async def _flat_out(api: ApiProcess, seconds: float) -> tuple[int, float]:
    async with _wires(api, 32) as wires:
        count = 0
        began = time.monotonic()

        async def sender(wire: _Wire) -> None:
            nonlocal count
            while time.monotonic() - began < seconds:
                await _ms(wire.post, 202)
                count += 1

        await asyncio.gather(*map(sender, wires))
        return count, time.monotonic() - began


async def _paced(api: ApiProcess, per_s: int, seconds: float) -> list[float]:
    """Milliseconds of each of evenly spaced submissions, from when it is due: waiting for a connection counts."""
    async with _wires(api, 64) as wires:
        free = asyncio.Queue[_Wire]()
        for wire in wires:
            free.put_nowait(wire)

        async def post() -> int:
            wire = await free.get()
            try:
                return await wire.post()
            finally:
                free.put_nowait(wire)

        sent: list[asyncio.Task[float]] = []
        began = time.monotonic()
        for n in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + n / per_s - time.monotonic()))
            sent.append(asyncio.create_task(_ms(post, 202)))
        return list(await asyncio.gather(*sent))


async def _lists(api: ApiProcess, query: str) -> list[float]:
    """Milliseconds of each of some pages, one after another, following the cursor."""
    async with _client(api) as http:
        cursor, took = "", list[float]()

        async def get() -> int:
            nonlocal cursor
            async with http.get(f"/v1/tasks?limit=50{query}{cursor}") as answer:
                page = await answer.json()
                cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else ""
                return answer.status

        for _ in range(200):
            took.append(await _ms(get, 200))
        return took[5:]


async def _streams(api: ApiProcess) -> list[Row]:
    """Memory of a thousand readers, and how soon one of them hears of a change."""
    store = open_store(f"sqlite:///{api.folder}/tether.db")
    async with _client(api) as http:
        async with http.post("/v1/tasks", data=_BODY) as answer:
            task_id = (await answer.json())["id"]
        before = _rss_mb(api)
        streams = [
            await http.get(f"/v1/tasks/{task_id}/events", headers={"Accept": "text/event-stream"}) for _ in range(_READERS)
        ]
        for stream in streams:
            await stream.content.readuntil(b"task_submitted")
        after = _rss_mb(api)
        heard: list[float] = []
        for stream in streams[1:]:
            stream.close()
        await asyncio.sleep(0.5)
        for n in range(50):
            began = time.monotonic()
            news = Append(task_id=task_id, events=(NewEvent(type="agent_log", data={"text": f"news-{n};"}),))
            await asyncio.to_thread(store.append, [news])
            await streams[0].content.readuntil(f"news-{n};".encode())
            heard.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.01)
        streams[0].close()
    store.close()
    return [
        Row(name=f"memory with {_READERS:,} idle readers", value=after, unit="MB", goal=150, note=f"{before:.0f} MB before"),
        Row(name="change to reader, median", value=median(heard), unit="ms", goal=100),
    ]


def _fill(folder: Path) -> None:
    """A million ended tasks, as copies of one row."""
    store = open_store(f"sqlite:///{folder}/tether.db")
    from tether.task import Budget, Task, Timeouts

    one = store.submit(Task(goal="look", task_type="report"), budget=Budget(), timeouts=Timeouts())
    store.cancel(one)
    store.close()
    database = sqlite3.connect(folder / "tether.db")
    database.execute("PRAGMA synchronous=OFF")
    prefix, start = time_bound("task", int(time.time() * 1000) - 86_400_000)[:15], 10**9
    name = f"'{prefix}' || printf('%016d', n)"
    numbers = f"WITH RECURSIVE c(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM c WHERE n < {start + _TASKS - 1})"
    for table, key in ((tasks, "id"), (budgets, "task_id"), (payloads, "task_id")):
        columns = [column.name for column in table.c]
        changed = {
            key: name,
            "state": "CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'succeeded' END",
            "task_type": "CASE WHEN n % 3 = 0 THEN 'report' ELSE 'other' END",
        }
        values = ", ".join(changed.get(c, f't."{c}"') for c in columns)
        listed = ", ".join(f'"{c}"' for c in columns)
        database.execute(
            f'{numbers} INSERT INTO {table.name} ({listed}) SELECT {values} FROM c, {table.name} t WHERE t."{key}" = ?', (one,)
        )
    database.commit()
    database.close()


def _rss_mb(api: ApiProcess) -> float:
    assert api.process is not None
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _cpu_s(api: ApiProcess) -> float:
    assert api.process is not None
    fields = Path(f"/proc/{api.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
