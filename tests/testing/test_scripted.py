"""The scripted provider speaks as the real ones do: checked with the vendors' own clients over real HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import anthropic
import openai
import pytest

from tether.testing import Request, ScriptedModels, Usage, call, fault, read_ledger, reply

ASK = [{"role": "user", "content": "say something"}]
TOOLS = [{"type": "function", "function": {"name": "web_fetch", "parameters": {"type": "object"}}}]
WEB = call("web_fetch", url="http://127.0.0.1/x")


def openai_client(models: ScriptedModels, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=models.base_url, api_key="sk-test", max_retries=retries, timeout=10)


def anthropic_client(models: ScriptedModels, retries: int = 0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=models.url, api_key="sk-test", max_retries=retries, timeout=10)


def test_chat_plain() -> None:
    """OpenAI's client reads text, tool calls and usage of a plain chat completion."""
    with ScriptedModels([reply("hello", tools=[WEB])]) as models, openai_client(models) as client:
        answer = client.chat.completions.create(model="m", messages=ASK, tools=TOOLS)
        made = answer.choices[0].message.tool_calls[0]
        assert answer.choices[0].message.content == "hello"
        assert (made.function.name, json.loads(made.function.arguments)) == ("web_fetch", {"url": "http://127.0.0.1/x"})
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        (entry,) = models.wait_for(lambda book: bool(book) and book[0].answered)
        assert (entry.usage.input_tokens, entry.usage.output_tokens) == (
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
        )
        assert len(entry.auth) == 16
        assert "sk-test" not in json.dumps(entry.document())


@pytest.mark.parametrize("wanted", [True, False])
def test_chat_stream(wanted: bool) -> None:
    """A streamed chat completion brings the same text and calls, and usage only when include_usage asks for it."""
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    with ScriptedModels([reply("hello, world, and more", tools=[WEB])]) as models, openai_client(models) as client:
        chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True, **options))
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert "".join(d.content or "" for d in deltas) == "hello, world, and more"
    arguments = "".join(c.function.arguments for d in deltas for c in d.tool_calls or ())
    assert json.loads(arguments) == WEB.args
    assert [c.usage is not None for c in chunks if not c.choices] == ([True] if wanted else [])


def test_responses_plain_and_stream() -> None:
    """OpenAI's client reads the Responses API, plain and streamed, with text, calls and usage."""
    with ScriptedModels([reply("hello there", tools=[WEB])]) as models, openai_client(models) as client:
        plain = client.responses.create(model="m", input="go", instructions="be brief")
        events = list(client.responses.create(model="m", input="go", stream=True))
    assert plain.output_text == "hello there"
    assert [item.type for item in plain.output] == ["message", "function_call"]
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "hello there"
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].response.usage.total_tokens > 0


def test_messages_plain_and_stream() -> None:
    """Anthropic's client reads messages, plain and streamed, with text, tool use and usage."""
    with ScriptedModels([reply("hello there", tools=[WEB])]) as models, anthropic_client(models) as client:
        plain = client.messages.create(model="claude", max_tokens=100, messages=ASK, system="be brief")
        with client.messages.stream(model="claude", max_tokens=100, messages=ASK) as stream:
            streamed = stream.get_final_message()
    for message in (plain, streamed):
        assert [b.type for b in message.content] == ["text", "tool_use"]
        assert message.content[0].text == "hello there"
        assert message.content[1].input == WEB.args
        assert message.stop_reason == "tool_use"
        assert message.usage.output_tokens > 1


def test_embeddings_and_models() -> None:
    """Embeddings are deterministic, in both encodings, and the models are listed."""
    with ScriptedModels([], models=("a", "b")) as models, openai_client(models) as client:
        as_base64 = client.embeddings.create(model="e", input=["x", "y"])
        as_floats = client.embeddings.create(model="e", input="x", encoding_format="float", dimensions=8)
        listed = [m.id for m in client.models.list()]
    assert as_base64.data[0].embedding == pytest.approx(as_floats.data[0].embedding, abs=1e-6)
    assert as_base64.data[0].embedding != as_base64.data[1].embedding
    assert listed == ["a", "b"]


def test_turn_picks_the_reply() -> None:
    """The reply follows from the conversation, not from the order of requests, so a resumed task gets the same answer."""
    said = [*ASK, {"role": "assistant", "content": "one"}, {"role": "user", "content": "more"}]
    with ScriptedModels([reply("one"), reply("two")]) as models, openai_client(models) as client:
        texts = [
            client.chat.completions.create(model="m", messages=messages).choices[0].message.content
            for messages in (said, ASK, said, ASK)
        ]
    assert texts == ["two", "one", "two", "one"]


def test_several_items_of_one_answer_are_one_turn() -> None:
    """In the Responses API text and calls of one answer are several items but one turn."""
    items = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "calling"},
        {"type": "function_call", "call_id": "c1", "name": "web_fetch", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
    ]
    with ScriptedModels(lambda r: reply(f"turn {r.turn} after {r.results[-1]}")) as models, openai_client(models) as client:
        assert client.responses.create(model="m", input=items).output_text == "turn 1 after 42"


def test_marker_in_the_goal_picks_the_script() -> None:
    """Many tasks share one server: the longest marker found in the goal picks the script, "" takes the rest."""

    def echo(request: Request) -> object:
        return reply(request.last)

    script = {"TASK-1": [reply("first")], "TASK-12": [reply("twelfth")], "": echo}
    with ScriptedModels(script) as models, openai_client(models) as client:
        goals = ("do TASK-12 now", "do TASK-1 now", "neither")
        answers = [client.chat.completions.create(model="m", messages=[{"role": "user", "content": g}]) for g in goals]
    assert [a.choices[0].message.content for a in answers] == ["twelfth", "first", "neither"]


def test_script_at_its_end_is_an_error() -> None:
    """A request the script has no reply for is refused with a message that says which."""
    with ScriptedModels([]) as models, openai_client(models) as client:
        with pytest.raises(openai.BadRequestError, match="no reply for turn 0"):
            client.chat.completions.create(model="m", messages=ASK)
        assert models.ledger[0].outcome == "refused"


def test_max_tokens_is_honoured() -> None:
    """An answer longer than max_tokens is cut there, says so, and is billed as what was said."""
    with ScriptedModels([reply("x" * 400)]) as models, openai_client(models) as client, anthropic_client(models) as other:
        chat = client.chat.completions.create(model="m", messages=ASK, max_tokens=10)
        response = client.responses.create(model="m", input="go", max_output_tokens=10)
        message = other.messages.create(model="m", messages=ASK, max_tokens=10)
    assert (chat.choices[0].finish_reason, chat.usage.completion_tokens) == ("length", 10)
    assert (response.status, response.usage.output_tokens) == ("incomplete", 10)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 10)


def test_scripted_usage_is_reported_as_it_is() -> None:
    """Usage of the script is what the provider claims, true or not."""
    usage = Usage(input_tokens=1000, output_tokens=7, cached_tokens=900)
    with ScriptedModels([reply("x", usage=usage)]) as models, openai_client(models) as client, anthropic_client(models) as other:
        chat = client.chat.completions.create(model="m", messages=ASK)
        message = other.messages.create(model="m", messages=ASK, max_tokens=10)
    assert (chat.usage.prompt_tokens, chat.usage.prompt_tokens_details.cached_tokens) == (1000, 900)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (100, 900)


def test_status_fault_passes_after_its_times() -> None:
    """429 with Retry-After twice, then the reply: the vendor's own retries get there."""
    script = [reply("at last", fault=fault("status", status=429, retry_after_s=0.01, times=2))]
    with ScriptedModels(script) as models, openai_client(models, retries=2) as client:
        assert client.chat.completions.create(model="m", messages=ASK).choices[0].message.content == "at last"
        assert [e.status for e in models.ledger] == [429, 429, 200]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("reset", openai.APIConnectionError), ("cut", openai.APIConnectionError), ("garbage", ValueError), ("empty", ValueError)],
)
def test_broken_answers(kind: str, error: type[Exception]) -> None:
    """A reset, a body cut in its middle, garbage and nothing at all reach the client as such, and the ledger says which."""
    with ScriptedModels([reply("hello", fault=fault(kind))]) as models, openai_client(models) as client:
        with pytest.raises(error):
            client.chat.completions.with_raw_response.create(model="m", messages=ASK).http_response.json()
        (entry,) = models.wait_for(lambda book: bool(book) and bool(book[0].outcome))
        assert entry.outcome in {"cut", f"fault:{kind}"}


def test_cut_stream() -> None:
    """A stream cut after two chunks brings these two and then a broken connection."""
    script = [reply("hello, world", fault=fault("cut", after=2))]
    with ScriptedModels(script) as models, openai_client(models) as client:
        stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
        assert next(stream).choices[0].delta.role == "assistant"
        assert next(stream).choices[0].delta.content
        with pytest.raises((openai.APIConnectionError, openai.APIError)):
            next(stream)
        models.wait_for(lambda book: book[0].outcome == "cut")


def test_hang_ends_with_its_client() -> None:
    """A hanging answer holds the client until it leaves, and the ledger says that it left."""
    with ScriptedModels([reply("never", fault=fault("hang"))]) as models:
        with openai_client(models) as client, pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.2).chat.completions.create(model="m", messages=ASK)
        models.wait_for(lambda book: book[0].outcome == "client_gone")


def test_gate_holds_an_answer_until_it_is_opened() -> None:
    """A gated reply comes when the test says so: concurrency without sleeps."""
    with ScriptedModels([reply("open", fault=fault("gate", gate="g"))]) as models, openai_client(models) as client:
        models.open_gate("g")
        assert client.chat.completions.create(model="m", messages=ASK).choices[0].message.content == "open"


def test_wrong_key_is_refused() -> None:
    """With api_key set, any other key gets 401, so a test sees whose key was used."""
    with ScriptedModels([reply("x")], api_key="the-key") as models, openai_client(models) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="m", messages=ASK)
        assert models.ledger[0].status == 401


def test_as_a_process(tmp_path: Path) -> None:
    """`python -m tether.testing.scripted` prints its URL, keeps a ledger file and ends on SIGTERM with 0."""
    script, ledger = tmp_path / "script.json", tmp_path / "ledger.jsonl"
    script.write_text(json.dumps({"": [{"tools": [{"name": "finish", "args": {"result": 1}}]}, {"fault": "hang"}]}))
    command = [sys.executable, "-m", "tether.testing.scripted", "--script", str(script), "--ledger", str(ledger)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        body = json.dumps({"model": "m", "messages": ASK}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/chat/completions", body), timeout=5) as answer:
            assert json.load(answer)["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "finish"
        with urllib.request.urlopen(f"{url}/ledger", timeout=5) as answer:
            assert [e["outcome"] for e in json.load(answer)["data"]] == ["answered"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert [(e.route, e.outcome) for e in read_ledger(ledger)] == [("chat", "answered")]


def test_bad_script_is_named(tmp_path: Path) -> None:
    """A script that is no JSON ends the process with 1 and one line that says so."""
    script = tmp_path / "script.json"
    script.write_text("nonsense")
    command = [sys.executable, "-m", "tether.testing.scripted", "--script", str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("scripted: script: is not JSON")
    assert "Traceback" not in ended.stderr


def test_bad_requests_are_refused_as_the_provider_does() -> None:
    """No messages, no JSON, no max_tokens for Anthropic: 400 with the provider's own error shape."""
    with ScriptedModels([reply("x")]) as models:
        for path, body in (("chat/completions", b"{}"), ("chat/completions", b"no"), ("messages", b'{"messages": [{}]}')):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{models.base_url}/{path}", body), timeout=5)
            with refused.value as answer:
                assert answer.code == 400
                assert json.load(answer)["error"]["message"]
