"""Calls through a real gateway process: official clients, metered to the nano-dollar, against the provider's own ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import anthropic
import openai
import pytest

from rig import Attempt, Rig, eventually
from tether.testing import Entry, ScriptedModels

GO = [{"role": "user", "content": "go"}]
COST = 60 * 1000 + 40 * 1000 + 30 * 2000  # nano-dollars of the script's usage at the rig's prices


def chat(attempt: Attempt, goal: str = "go", **more: Any) -> Any:
    messages = [{"role": "user", "content": f"{goal} {attempt.key}"}]
    return attempt.openai().chat.completions.create(**{"model": "m", "messages": messages, **more})  # type: ignore[call-overload]


def ledger_of(models: ScriptedModels, attempt: Attempt) -> list[Entry]:
    return [e for e in models.ledger if attempt.key in json.dumps(dict(e.body))]


def post(attempt: Attempt, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(
        attempt.url + path, data=body, headers={"Authorization": f"Bearer {attempt.token}", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def test_a_chat_completion_is_metered(rig: Rig, models: ScriptedModels) -> None:
    """A plain call is answered, counted, priced by the reported usage, journaled, and told to the supervisor."""
    attempt = rig.attempt(max_usd=1)
    got = chat(attempt)
    assert got.choices[0].message.content.startswith("one two three")
    (ended,) = attempt.settled(1)
    assert {
        k: ended[k] for k in ("outcome", "status", "settled", "nanousd", "input_tokens", "output_tokens", "cached_tokens")
    } == {
        "outcome": "ok",
        "status": 200,
        "settled": "usage",
        "nanousd": COST,
        "input_tokens": 100,
        "output_tokens": 30,
        "cached_tokens": 40,
    }
    assert ended["context_window"] == 100_000
    usage = attempt.usage
    assert (usage["llm_calls"], usage["tokens"], usage["nanousd"], usage["held"]) == (1, 130, COST, 0)
    (entry,) = ledger_of(models, attempt)
    assert (entry.model, entry.body["max_tokens"]) == ("scripted", 1000)
    told = rig.wait_told(lambda p: p["op"] == "call_ended" and p["key"] == attempt.key)
    assert (told["nanousd"], told["over"], told["context_window"]) == (COST, [], 100_000)


def test_a_chat_stream_is_metered_and_unchanged(rig: Rig, models: ScriptedModels) -> None:
    """A stream arrives chunk by chunk without the usage chunk that was only asked for the meter, and is priced all the same."""
    attempt = rig.attempt()
    chunks = list(chat(attempt, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert "".join(c.choices[0].delta.content or "" for c in chunks).startswith("one two three")
    assert attempt.settled(1)[0]["nanousd"] == COST
    asked = list(chat(attempt, stream=True, stream_options={"include_usage": True}))
    assert asked[-1].usage.completion_tokens == 30
    assert [e.body["stream_options"] for e in ledger_of(models, attempt)] == [{"include_usage": True}] * 2


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_messages_are_metered(rig: Rig, models: ScriptedModels, streamed: bool) -> None:
    """Anthropic's client works unmodified, plain and streamed, with the provider's key in place of the attempt's."""
    attempt = rig.attempt()
    asked: dict[str, Any] = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": attempt.key}]}
    with attempt.anthropic() as client:
        if streamed:
            with client.messages.stream(**asked) as stream:
                text = stream.get_final_text()
        else:
            text = client.messages.create(**asked).content[0].text  # type: ignore[union-attr]
    assert text.startswith("one two three")
    assert attempt.settled(1)[0]["nanousd"] == COST
    (entry,) = ledger_of(models, attempt)
    assert (entry.status, entry.body["max_tokens"]) == (200, 500)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_are_metered(rig: Rig, models: ScriptedModels, streamed: bool) -> None:
    """The Responses API works unmodified, plain and streamed."""
    attempt = rig.attempt()
    got = attempt.openai().responses.create(model="m", input=attempt.key, stream=streamed)
    if streamed:
        got = next(event for event in got if event.type == "response.completed").response
    assert got.output_text.startswith("one two three")
    assert attempt.settled(1)[0]["nanousd"] == COST
    assert ledger_of(models, attempt)[0].body["max_output_tokens"] == 1000


def test_embeddings_are_metered(rig: Rig) -> None:
    """Embeddings cost their input tokens."""
    attempt = rig.attempt()
    got = attempt.openai().embeddings.create(model="m", input=["a", "b"])
    assert len(got.data) == 2
    (ended,) = attempt.settled(1)
    assert ended["nanousd"] == ended["input_tokens"] * 1000 > 0


def test_models_are_listed_for_both_vendors(rig: Rig) -> None:
    """GET /v1/models names the aliases and costs nothing."""
    attempt = rig.attempt()
    assert [m.id for m in attempt.openai().models.list()] == ["free", "m"]
    with attempt.anthropic() as client:
        assert [m.id for m in client.models.list()] == ["free", "m"]
    assert attempt.usage["llm_calls"] == 0


def test_free_models_need_no_price(rig: Rig, models: ScriptedModels) -> None:
    """A free model is counted but costs nothing, and no maximum is put into its requests."""
    attempt = rig.attempt(max_usd=0)
    chat(attempt, model="free")
    assert attempt.settled(1)[0]["nanousd"] == 0
    assert "max_tokens" not in ledger_of(models, attempt)[0].body


async def fifty(attempt: Attempt, **more: Any) -> list[Any]:
    async with attempt.async_openai(max_retries=2) as client:
        messages: Any = [{"role": "user", "content": attempt.key}]
        calls = [client.chat.completions.create(model="m", messages=messages, **more) for _ in range(50)]
        return await asyncio.gather(*calls, return_exceptions=True)


def test_concurrent_calls_never_pass_the_limit(rig: Rig, models: ScriptedModels) -> None:
    """50 concurrent calls against max_llm_calls=10: exactly 10 reach the provider, the others are refused for good."""
    attempt = rig.attempt(max_llm_calls=10)
    answers = asyncio.run(fifty(attempt))
    refused = [a for a in answers if isinstance(a, openai.APIStatusError)]
    assert (len(refused), len(ledger_of(models, attempt))) == (40, 10)
    assert {(r.status_code, r.code, r.response.headers.get("x-should-retry")) for r in refused} == {
        (402, "budget_exceeded", "false")
    }
    assert not any("retry-after" in r.response.headers for r in refused)
    assert len(attempt.settled(10)) == 10
    assert attempt.usage["llm_calls"] == len(attempt.calls()) == 10
    noted = eventually(lambda: attempt.events("call_refused"))
    assert (noted[0]["limit"], noted[0]["used"], noted[0]["allowed"]) == ("max_llm_calls", 10, 10)
    assert rig.wait_told(lambda p: p["op"] == "refused" and p["key"] == attempt.key)["limit"] == "max_llm_calls"


def test_concurrent_calls_wait_for_room_instead_of_failing(rig: Rig, models: ScriptedModels) -> None:
    """Calls that would fit but for what others hold wait for those to settle: all succeed, and the money is never passed."""
    attempt = rig.attempt(max_usd=0.01)
    answers = asyncio.run(fifty(attempt, max_tokens=1000))
    assert not [a for a in answers if isinstance(a, Exception)]
    assert len(attempt.settled(50)) == 50
    assert attempt.usage["nanousd"] == 50 * COST <= 10_000_000
    assert len(ledger_of(models, attempt)) == 50


def test_scarce_money_shortens_the_answer_then_refuses(rig: Rig, models: ScriptedModels) -> None:
    """Near the limit the output is clamped to what is left; under the floor the call is refused without reaching the provider."""
    attempt = rig.attempt(max_usd=0.0012)
    chat(attempt, max_tokens=900)
    (entry,) = ledger_of(models, attempt)
    assert 256 <= entry.body["max_tokens"] < 900
    attempt.settled(1)
    attempt = rig.attempt(max_usd=0.0004)
    with pytest.raises(openai.APIStatusError) as caught:
        chat(attempt)
    assert caught.value.status_code == 402
    assert "max_usd" in caught.value.message
    assert not ledger_of(models, attempt)


def test_anthropic_clients_are_refused_in_their_own_words(rig: Rig) -> None:
    """Anthropic's client gets its own error shape and does not retry."""
    attempt = rig.attempt(max_llm_calls=0)
    with attempt.anthropic() as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "go"}])
    assert caught.value.status_code == 402
    assert caught.value.body["error"]["type"] == "billing_error"  # type: ignore[index,call-overload]
    assert rig.wait_told(lambda p: p["op"] == "refused" and p["key"] == attempt.key)


def test_every_other_route_is_refused(rig: Rig) -> None:
    """A path the gateway does not meter never reaches the provider; the answer names those that exist."""
    attempt = rig.attempt()
    for path in ("/v1/images/generations", "/v1/chat/completions/", "/", "/v1/files", "/link/nothing", "/v1/audio/speech"):
        status, headers, body = post(attempt, path)
        assert (status, headers["x-should-retry"]) == (404, "false"), path
        assert json.loads(body)["error"]["code"] == "unknown_route"
    assert b"/v1/messages" in post(attempt, "/v1/batches")[2]


def test_the_listener_and_the_token_must_agree(rig: Rig, models: ScriptedModels) -> None:
    """One attempt's token opens nothing on another's listener."""
    mine, other = rig.attempt(), rig.attempt()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": mine.key}]}).encode()
    for headers in ({"Authorization": f"Bearer {other.token}"}, {"Authorization": ""}, {"Authorization": "", "x-api-key": "x"}):
        assert post(mine, "/v1/chat/completions", body, **headers)[0] == 401
    assert not ledger_of(models, mine)
    assert post(mine, "/v1/chat/completions", body, Authorization="", **{"x-api-key": mine.token})[0] == 200


def test_busy_servers_are_tried_again(rig: Rig, models: ScriptedModels) -> None:
    """429 and 5xx are retried in the gateway, each try a call of its own at no cost, and the supervisor hears of the wait."""
    attempt = rig.attempt()
    chat(attempt, "BUSY2")
    ended = attempt.settled(3)
    assert [(e["status"], e["settled"], e["nanousd"]) for e in ended] == [(429, "refund", 0)] * 2 + [(200, "usage", COST)]
    assert attempt.usage["llm_calls"] == len(ledger_of(models, attempt)) == 3
    for on in (True, False):
        assert rig.wait_told(lambda p, on=on: p["op"] == "waiting" and p["key"] == attempt.key and p["on"] is on)
    with pytest.raises(openai.InternalServerError) as caught:
        chat(attempt, "BUSY")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    assert len(ledger_of(models, attempt)) == 7


def test_what_the_server_will_not_do_is_passed_on(rig: Rig, models: ScriptedModels) -> None:
    """A 400 of the provider reaches the agent as it is, is not retried, and costs nothing."""
    attempt = rig.attempt()
    with pytest.raises(openai.BadRequestError):
        chat(attempt, "WRONG")
    assert attempt.settled(1)[0]["settled"] == "refund"
    assert len(ledger_of(models, attempt)) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_no_usage_is_settled_at_the_hold(rig: Rig, streamed: bool) -> None:
    """An answer without usage costs what was set aside for it."""
    attempt = rig.attempt()
    got = chat(attempt, "SILENT", stream=streamed)
    if streamed:
        list(got)
    (ended,) = attempt.settled(1)
    started = attempt.events("call_started")[0]
    assert (ended["settled"], ended["nanousd"]) == ("hold", started["hold_nanousd"])
    assert attempt.usage["held"] == 0


def test_a_cut_stream_ends_in_an_error(rig: Rig) -> None:
    """A stream the server cuts ends in an error event, never in quiet, and is settled at the hold."""
    attempt = rig.attempt()
    with pytest.raises(openai.APIError, match="ended the stream"):
        list(chat(attempt, "CUT", stream=True))
    (ended,) = attempt.settled(1)
    assert (ended["outcome"], ended["settled"]) == ("cut", "hold")


def test_a_cut_answer_is_an_error(rig: Rig) -> None:
    """A plain answer that is cut is no answer; it is settled at the hold, as the server worked for it."""
    attempt = rig.attempt()
    with pytest.raises(openai.InternalServerError, match="no whole answer"):
        attempt.openai(max_retries=0).chat.completions.create(model="m", messages=[{"role": "user", "content": "CUT"}])
    assert attempt.settled(1)[0]["settled"] == "hold"


def test_a_reset_connection_is_tried_again_and_paid(rig: Rig, models: ScriptedModels) -> None:
    """A connection reset before any answer may have been served: it is paid at the hold and tried again."""
    attempt = rig.attempt()
    chat(attempt, "RESET")
    assert [e["settled"] for e in attempt.settled(2)] == ["hold", "usage"]
    assert len(ledger_of(models, attempt)) == 2


def test_a_client_that_leaves_still_pays_the_real_usage(rig: Rig, models: ScriptedModels) -> None:
    """A client that leaves in mid-stream does not escape the bill: the rest is read and the real usage settled."""
    attempt = rig.attempt()
    stream = chat(attempt, "DRIP", stream=True)
    next(iter(stream))
    stream.close()
    (ended,) = attempt.settled(1)
    assert (ended["outcome"], ended["settled"], ended["nanousd"]) == ("cut", "usage", COST)
    assert ledger_of(models, attempt)[0].answered


def test_a_client_may_ask_before_it_sends(rig: Rig) -> None:
    """Expect: 100-continue, which curl sends with large bodies, is answered at once."""
    attempt = rig.attempt()
    body = json.dumps({"model": "m", "messages": GO}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attempt.token}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", attempt.port), timeout=10) as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_one_attempt_cannot_take_all_connections(rig: Rig) -> None:
    """Connections beyond an attempt's share are dropped, and its neighbour is served."""
    greedy, neighbour = rig.attempt(), rig.attempt()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", greedy.port), timeout=10))
        assert chat(neighbour).choices
        last = stack.enter_context(socket.create_connection(("127.0.0.1", greedy.port), timeout=10))
        with contextlib.suppress(ConnectionResetError):
            assert last.recv(10) == b""


def test_bad_requests_cost_nothing(rig: Rig, models: ScriptedModels) -> None:
    """What is no request, has no model, or has no bound is refused before anything is counted."""
    attempt = rig.attempt()
    huge = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}
    unknown = {"model": "other", "messages": []}
    for body, status in ((b"{", 400), (json.dumps(huge).encode(), 400), (json.dumps(unknown).encode(), 404), (b"[]", 400)):
        assert post(attempt, "/v1/chat/completions", body)[0] == status
    assert (attempt.usage["llm_calls"], ledger_of(models, attempt)) == (0, [])
