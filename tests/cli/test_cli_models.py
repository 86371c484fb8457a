"""Finding a model: configuration, a key in the environment, a local server, or three lines that say what to do."""

from __future__ import annotations

import socket

import pytest
from genai_prices import data_snapshot

from terminal import Terminal
from tether.cli.models import HOSTED, Found, Local, NoModel, choose, environment, probe
from tether.config import ModelSettings, Settings
from tether.errors import ValidationError
from tether.testing import ScriptedModels, reply

NOBODY: tuple[Local, ...] = ()


def _settings(**models: dict[str, object]) -> Settings:
    return Settings(models={name: ModelSettings.model_validate(values) for name, values in models.items()})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_a_configured_model_is_used_as_it_is() -> None:
    """With [models.default] nothing is looked for, whatever key is in the environment."""
    settings = _settings(default={"upstream": "http://a/v1"})
    assert choose(settings, None, {"OPENAI_API_KEY": "k"}, NOBODY) is None


@pytest.mark.parametrize("hosted", HOSTED, ids=[hosted.name for hosted in HOSTED])
def test_a_key_in_the_environment_names_the_provider(hosted: object) -> None:
    """Each known key leads to its provider; the key itself is only named, never copied."""
    assert hosted in HOSTED
    known = HOSTED[HOSTED.index(hosted)]  # type: ignore[arg-type]
    found = choose(_settings(), None, {known.key_env: "secret-1234567890"}, NOBODY)
    assert found is not None
    assert (found.server["upstream"], found.server["key_env"], found.model) == (known.upstream, known.key_env, known.model)
    assert "secret" not in str(environment(found))
    for section in found.sections.values():
        ModelSettings.model_validate(section)


@pytest.mark.parametrize("hosted", HOSTED, ids=[hosted.name for hosted in HOSTED])
def test_the_model_asked_for_by_default_has_a_known_price(hosted: object) -> None:
    """A provider's default model is priced, so that max_usd holds without any configuration."""
    known = HOSTED[HOSTED.index(hosted)]  # type: ignore[arg-type]
    _, model = data_snapshot.get_snapshot().find_provider_model(known.model, None, None, known.upstream)
    assert model.prices


def test_a_base_url_in_the_environment_is_kept() -> None:
    """OPENAI_BASE_URL next to OPENAI_API_KEY is the server to ask."""
    found = choose(_settings(), None, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://proxy/v1"}, NOBODY)
    assert found is not None
    assert found.server["upstream"] == "http://proxy/v1"


def test_a_server_on_this_machine_is_found() -> None:
    """Without a key a local model server is taken: free of charge, tools as a schema."""
    with ScriptedModels([reply("x")], models=("qwen2.5-coder", "nomic-embed-text")) as models:
        port = int(models.url.rsplit(":", 1)[1])
        found = choose(_settings(), None, {}, (Local(name="nobody", port=_free_port()), Local(name="LM Studio", port=port)))
        assert found is not None
        assert dict(found.server) == {"upstream": f"http://127.0.0.1:{port}/v1", "free": True, "tools": "schema"}
        assert found.model == "qwen2.5-coder"
        assert [entry["id"] for entry in probe(port)] == ["qwen2.5-coder"]
        with pytest.raises(ValidationError, match=r"known are qwen2\.5-coder"):
            choose(_settings(), "gpt-9", {}, (Local(name="LM Studio", port=port),))


def test_a_web_server_that_is_no_model_server_is_passed_over() -> None:
    """Something else on the port is not taken for a model."""
    assert probe(_free_port()) == []


def test_without_anything_three_lines_say_what_to_do(terminal: Terminal) -> None:
    """No configuration, no key, no server: an error of ours and three ways out; nothing is submitted."""
    with pytest.raises(NoModel) as caught:
        choose(_settings(), None, {}, NOBODY)
    assert len(caught.value.lines) == 3
    ended = terminal.run("run", "x")
    lines = ended.err.strip().splitlines()
    assert (ended.code, ended.out, len(lines)) == (1, "", 4), ended
    assert lines[0].startswith("error: models.default: there is no model to ask")
    assert [word in text for word, text in zip(("OPENAI_API_KEY", "ollama", "tether init"), lines[1:], strict=True)] == [True] * 3
    assert terminal.run("list", "--json").json["data"] == []


def test_the_worker_gets_the_model_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables for a worker make the model, and a section that passes other names on to the same server."""
    server = {"upstream": "http://127.0.0.1:1/v1", "free": True, "context_window": 4096}
    for name, value in environment(Found(server=server, model="Qwen2.5-Coder:7b", why="")).items():
        monkeypatch.setenv(name, value)
    models = Settings().models
    assert {name: model.model for name, model in models.items()} == {"default": "Qwen2.5-Coder:7b", "any": ""}
    assert all(model.free and model.context_window == 4096 for model in models.values())
