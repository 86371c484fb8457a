"""The gateway as a process: what ends, what survives, and what is never lost when something is killed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from rig import Rig, eventually, listener, running
from test_calls import chat, fifty, ledger_of, post
from tether.testing import ScriptedModels

GO = b'{"model": "m", "messages": [{"role": "user", "content": "go"}]}'


def test_revoking_ends_connections_and_pays_what_is_under_way(rig: Rig, models: ScriptedModels) -> None:
    """A revoked attempt's open connections break at once, new ones are refused, and its call under way is still settled."""
    attempt = rig.attempt()
    stream = chat(attempt, "DRIP", stream=True)
    next(iter(stream))
    rig.send({"op": "revoke", "key": attempt.key, "why": "over"})
    with pytest.raises((openai.OpenAIError, httpx.HTTPError)):
        list(stream)
    rig.wait_told(lambda p: p["op"] == "revoked" and p["key"] == attempt.key)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", attempt.port), timeout=5)
    (ended,) = attempt.settled(1)
    assert (ended["outcome"], ended["settled"]) == ("revoked", "usage")
    assert len(ledger_of(models, attempt)) == 1


def test_a_lost_lease_is_refused(rig: Rig, models: ScriptedModels) -> None:
    """An attempt whose lease another worker took is refused by the store, even while its listener is open."""
    claim = rig.lease()
    attempt = rig.admit(claim, lease_token="tok_of_another")
    with pytest.raises(openai.APIStatusError, match="lease"):
        chat(attempt)
    assert not ledger_of(models, attempt)


def test_operators_can_stop_calls(rig: Rig) -> None:
    """A hold on calls refuses them within a moment, for one attempt or for all, and its release lets them go on."""
    mine, other = rig.attempt(), rig.attempt()
    rig.send({"op": "hold", "holds": [{"keys": [mine.key], "note": "too dear"}]})
    eventually(lambda: post(mine, "/v1/chat/completions", GO)[0] == 402)
    with pytest.raises(openai.APIStatusError, match="too dear"):
        chat(mine)
    chat(other)
    rig.send({"op": "hold", "holds": []})
    eventually(lambda: post(mine, "/v1/chat/completions", GO)[0] == 200)


def test_a_command_speaks_to_the_supervisor(rig: Rig) -> None:
    """POST /link/… reaches the supervisor as a link message, and its answer comes back with a fitting status."""
    attempt = rig.attempt()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(post, attempt, "/link/ask", b'{"question": "why?", "key": "k"}')
        message = rig.wait_told(lambda p: p["op"] == "link" and p["key"] == attempt.key)
        assert message["body"] == {"op": "ask", "question": "why?", "key": "k"}
        rig.send({"op": "link_reply", "key": attempt.key, "id": message["id"], "body": {"ok": True, "answer": "so"}})
        status, _, body = asked.result(10)
        assert (status, json.loads(body)) == (200, {"ok": True, "answer": "so"})
        asked = pool.submit(post, attempt, "/link/charge", b'{"usd": 0.5, "what": "a print"}')
        message = rig.wait_told(lambda p: p["op"] == "link" and p["body"]["op"] == "charge")
        assert message["body"]["nanousd"] == 500_000_000
        refused = {"ok": False, "reason": "budget", "message": "no more"}
        rig.send({"op": "link_reply", "key": attempt.key, "id": message["id"], "body": refused})
        assert asked.result(10)[0] == 402
        asked = pool.submit(post, attempt, "/link/step", b"")
        rig.wait_told(lambda p: p["op"] == "link" and p["body"]["op"] == "step_started")
        rig.send({"op": "revoke", "key": attempt.key})
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            asked.result(10)
    assert post(rig.attempt(), "/link/partial", b"[]")[0] == 400


@pytest.fixture
def own(models: ScriptedModels, tmp_path: Path) -> Any:
    """A gateway that may be killed."""
    with running(tmp_path, models.base_url) as made:
        yield made


def test_a_killed_gateway_leaves_nothing_unbilled(own: Rig, models: ScriptedModels) -> None:
    """kill -9 with a call in flight leaves its hold, which settling the orphans turns into spend."""
    attempt = own.attempt()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(chat, attempt, "HANG")
        models.wait_for(lambda _: len(ledger_of(models, attempt)) == 1)
        assert own.process is not None
        own.process.send_signal(signal.SIGKILL)
        own.process.wait(10)
        with pytest.raises(openai.OpenAIError):
            asked.result(20)
    held = attempt.usage["held"]
    assert held > 0
    assert own.store.settle_orphans(lease_tokens=[attempt.claim.lease_token]) == 1
    assert (attempt.usage["held"], attempt.usage["nanousd"], attempt.usage["llm_calls"]) == (0, held, 1)
    assert attempt.events("call_ended")[0]["settled"] == "hold"


def test_the_next_gateway_takes_over_the_listeners(own: Rig, models: ScriptedModels) -> None:
    """A call made while no gateway runs waits in the listener's backlog and is served by the next gateway."""
    pair = (listener(), listener())
    attempt = own.admit(own.lease(), pair)
    chat(attempt)
    assert own.process is not None
    own.process.kill()
    own.process.wait(10)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(chat, attempt)
        own.told.clear()
        own.start()
        own.admit(attempt.claim, pair)
        assert asked.result(20).choices
    for sock in pair:
        sock.close()
    assert len(ledger_of(models, attempt)) == 2


def test_the_gateway_ends_with_its_supervisor(own: Rig, models: ScriptedModels) -> None:
    """When the channel ends, the gateway is gone within a second, whatever it is doing."""
    attempt = own.attempt()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(chat, attempt, "HANG")
        models.wait_for(lambda _: len(ledger_of(models, attempt)) == 1)
        own.channel.close()
        assert own.process is not None
        own.process.wait(2)
        with pytest.raises(openai.OpenAIError):
            asked.result(20)


def test_keys_stay_inside(own: Rig) -> None:
    """The provider's key is in no event, no row, no packet, and nobody of the same user may read the gateway's memory."""
    attempt = own.attempt()
    chat(attempt)
    attempt.settled(1)
    store = own.url.removeprefix("sqlite:///")
    files = b"".join(p.read_bytes() for p in Path(store).parent.glob("tether.db*"))
    assert b"sk-provider-key" not in files
    assert "sk-provider-key" not in json.dumps(own.told)
    assert own.process is not None
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Path(f"/proc/{own.process.pid}/environ").read_bytes()
    assert Path(f"/proc/{own.process.pid}/mem").stat().st_uid == 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"models": {"m": {"upstream": "http://x", "colour": 1}}}, "models.m.colour"),
        ({"models": {"m": {}}}, "models.m.upstream"),
        ({"prices": {"x": {"input_usd_per_mtok": 1}}}, "prices.x.output_usd_per_mtok"),
        ({"store_url": "nonsense://x"}, "store"),
    ],
)
def test_a_bad_configuration_is_named(tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
    """A gateway that cannot start says which key is wrong, and ends."""
    made = Rig(tmp_path, {"models": {}})
    made.configure |= wrong
    try:
        made.start(wait=False)
        assert field in made.wait_told(lambda p: p["op"] == "failed", within_s=30)["problem"]
        assert made.process is not None
        assert made.process.wait(10) == 1
    finally:
        made.stop()


def test_an_upstream_that_is_down_is_an_error_not_a_cost(models: ScriptedModels, tmp_path: Path) -> None:
    """An upstream nobody listens on gives a clear 502, costs nothing, and does not use up calls."""
    del models
    with running(tmp_path, "http://127.0.0.1:9/v1") as rig:
        attempt = rig.attempt()
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
            chat(attempt)
        assert caught.value.status_code == 502
        attempt.settled(4)
        assert (attempt.usage["llm_calls"], attempt.usage["nanousd"], attempt.usage["held"]) == (0, 0, 0)


def test_tools_as_a_schema(tmp_path: Path) -> None:
    """For a server without tool calling, an official client still gets tool calls, plain and streamed."""
    said = json.dumps({"tool": "add", "args": {"a": 17, "b": 25}})
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    with ScriptedModels(lambda _: _reply(said)) as models:
        extra = {"m": {"upstream": models.base_url, "model": "scripted", "tools": "schema"}}
        with running(tmp_path, models.base_url, models=extra) as rig:
            attempt = rig.attempt()
            called = chat(attempt, tools=tools).choices[0].message.tool_calls[0]
            assert (called.function.name, json.loads(called.function.arguments)) == ("add", {"a": 17, "b": 25})
            chunks = list(chat(attempt, tools=tools, stream=True))
            (streamed,) = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
            assert streamed.function.name == "add"
            attempt.settled(2)
        assert all("tools" not in e.body and "response_format" in e.body for e in models.ledger)


def test_the_limit_holds_on_postgresql(models: ScriptedModels, tmp_path: Path, postgres_database: str) -> None:
    """On PostgreSQL too, of 50 concurrent calls exactly those within the limit reach the provider."""
    with running(tmp_path, models.base_url, store_url=postgres_database) as rig:
        attempt = rig.attempt(max_llm_calls=10)
        answers = asyncio.run(fifty(attempt))
        assert sum(isinstance(a, openai.APIStatusError) for a in answers) == 40
        assert len(ledger_of(models, attempt)) == len(attempt.settled(10)) == len(attempt.calls()) == 10


def _reply(text: str) -> Any:
    from tether.testing import reply

    return reply(text)


def test_the_store_decides(tmp_path: Path, models: ScriptedModels) -> None:
    """While the store cannot be written nothing is sent: the call waits, and after store_wait_s the caller gets 503."""
    with running(tmp_path, models.base_url, store_wait_s=1.0) as rig:
        attempt = rig.attempt()
        lock = rig.database.raw_connection()
        lock.execute("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
        try:
            request = urllib.request.Request(
                f"{attempt.url}/v1/chat/completions",
                data=json.dumps({"model": "m", "messages": [{"role": "user", "content": attempt.key}]}).encode(),
                headers={"Authorization": f"Bearer {attempt.token}"},
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=60)
            assert caught.value.code == 503
            caught.value.close()
        finally:
            lock.rollback()
            lock.close()
        assert not ledger_of(models, attempt)
        chat(attempt)
