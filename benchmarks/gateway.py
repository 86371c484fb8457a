"""What a model call costs at the gateway, reserve and settle on SQLite included, beside a bare reverse proxy of the same stack.

CPU is that of the process (user and system) divided by the calls; it does not depend on the machine's load as times do.
`python benchmarks/gateway.py upstream|bare PORT [TARGET]` are the two other processes of the comparison.
LITELLM_PYTHON, an interpreter of an environment with `litellm[proxy]`, adds that proxy to it (one worker, no database).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from rows import Row

CALLS, STREAMS, AT_ONCE, ONE_BY_ONE = 600, 200, 16, 100
LITELLM_CALLS, LITELLM_READY_S = 100, 300.0
TOOLS = [
    {"type": "function", "function": {"name": f"t{n}", "description": "d" * 200, "parameters": {"type": "object"}}}
    for n in range(8)
]
BODY = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "word " * 450}], "tools": TOOLS}
USAGE = {"prompt_tokens": 900, "completion_tokens": 50, "total_tokens": 950}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "scripted",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "model": "scripted",
    "choices": [{"index": 0, "delta": {"content": "word "}}],
}
LAST = {"id": "c", "object": "chat.completion.chunk", "model": "scripted", "choices": [], "usage": USAGE}


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """The provider: the same answer to everybody, in one piece or in 50 chunks."""
    asked = json.loads(await request.read() or b"{}")  # LiteLLM looks by GET whether somebody is there
    if not asked.get("stream"):
        return web.Response(body=json.dumps(ANSWER).encode(), content_type="application/json")
    out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await out.prepare(request)
    for _ in range(50):
        await out.write(b"data: " + json.dumps(CHUNK).encode() + b"\n\n")
        await asyncio.sleep(0)
    await out.write(b"data: " + json.dumps(LAST).encode() + b"\n\ndata: [DONE]\n\n")
    return out


async def serve(port: int, target: str | None) -> None:
    """The provider, or a bare proxy in front of it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            async with session.post(f"{target}{request.path}", data=body, headers={"Content-Type": "application/json"}) as up:
                if up.content_type != "text/event-stream":
                    return web.Response(status=up.status, body=await up.read(), content_type="application/json")
                down = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await down.prepare(request)
                async for chunk in up.content.iter_any():
                    await down.write(chunk)
                return down

        server = web.Server(pass_on if target else answer, access_log=None)
        await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
        await asyncio.Event().wait()


def rows() -> Iterator[Row]:
    """Plain calls and streams, sixteen at once, then one by one for the time a call takes."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "gateway"))
    from rig import Rig
    from servers import free_port

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, bare = free_port(), free_port()
        for arguments in (["upstream", str(upstream)], ["bare", str(bare), f"http://127.0.0.1:{upstream}"]):
            process = subprocess.Popen([sys.executable, __file__, *arguments])
            stack.callback(process.wait)
            stack.callback(process.kill)
        bare_pid = process.pid
        price = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
        rig = Rig(
            folder,
            {
                "models": {"m": {"upstream": f"http://127.0.0.1:{upstream}/v1", "model": "scripted"}},
                "prices": {"scripted": price},
            },
        )
        stack.callback(rig.stop)
        rig.start()
        attempt = rig.attempt(max_llm_calls=10**6, max_usd=1000, max_tokens=10**9)
        assert rig.process is not None
        ways = {
            "provider": (f"http://127.0.0.1:{upstream}", "", 0),
            "bare proxy": (f"http://127.0.0.1:{bare}", "", bare_pid),
            "gateway": (attempt.url, attempt.token, rig.process.pid),
        }
        if "LITELLM_PYTHON" in os.environ:
            ways["LiteLLM"] = litellm(stack, folder, os.environ["LITELLM_PYTHON"], free_port(), upstream)
        yield from asyncio.run(measured(ways))


def litellm(stack: ExitStack, folder: Path, python: str, port: int, upstream: int) -> tuple[str, str, int]:
    """LiteLLM's proxy in front of the same provider, once it answers."""
    config = folder / "litellm.yaml"
    model = {"model": "openai/scripted", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": model}]}))
    command = [str(Path(python).with_name("litellm")), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "sk-benchmark", "LITELLM_LOG": "ERROR"}
    process = subprocess.Popen(command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    until_s = time.monotonic() + LITELLM_READY_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return f"http://127.0.0.1:{port}", "sk-benchmark", process.pid
    raise OSError(f"LiteLLM's proxy did not start ({python})")


async def measured(ways: dict[str, tuple[str, str, int]]) -> list[Row]:
    """The figures of every way."""
    from rows import Row

    out: list[Row] = []
    times: dict[str, float] = {}
    plain: dict[str, float] = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for name, (url, token, pid) in ways.items():
            slow = name == "LiteLLM"
            await many(session, url, token, 40, stream=False)
            if pid:
                for what, count, stream, goal in (("plain call", CALLS, False, 1.0), ("stream of 50 chunks", STREAMS, True, 1.5)):
                    used = await cpu_ms_of(session, url, token, pid, LITELLM_CALLS if slow else count, stream=stream)
                    plain.setdefault(name, used)
                    limit = goal if name == "gateway" else None
                    out.append(Row(name=f"{name}, {what}", value=used, unit="ms CPU", goal=limit, note=f"{AT_ONCE} at once"))
            if not slow:
                times[name] = await one_by_one(session, url, token)
    first = times["gateway"] - times["provider"]
    out.append(Row(name="first streamed byte behind direct", value=first, unit="ms", goal=3, note="median, one by one"))
    if "LiteLLM" in plain:
        ratio = plain["LiteLLM"] / plain["gateway"]
        out.append(Row(name="plain call, LiteLLM's CPU by ours", value=ratio, unit="times", goal=20, at_most=False))
    return out


async def cpu_ms_of(session: aiohttp.ClientSession, url: str, token: str, pid: int, count: int, *, stream: bool) -> float:
    """Milliseconds of CPU of the process per call."""
    before = cpu_s(pid)
    await many(session, url, token, count, stream=stream)
    return (cpu_s(pid) - before) / count * 1000


async def many(session: aiohttp.ClientSession, url: str, token: str, count: int, *, stream: bool) -> None:
    """`count` calls, AT_ONCE of them under way."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            async with session.post(
                f"{url}/v1/chat/completions", json={**BODY, "stream": stream}, headers={"Authorization": f"Bearer {token}"}
            ) as got:
                assert got.status == 200, await got.text()
                await got.read()

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))


async def one_by_one(session: aiohttp.ClientSession, url: str, token: str) -> float:
    """Median milliseconds to the first byte of a stream."""
    times: list[float] = []
    for _ in range(ONE_BY_ONE):
        started = time.perf_counter()
        async with session.post(
            f"{url}/v1/chat/completions", json={**BODY, "stream": True}, headers={"Authorization": f"Bearer {token}"}
        ) as got:
            await got.content.readany()
            times.append((time.perf_counter() - started) * 1000)
            await got.read()
    return statistics.median(times)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
