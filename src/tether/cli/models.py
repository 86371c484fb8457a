"""Which model answers when tether.toml names none: by a key in the environment, else a server on this machine.

Nothing here invents an answer: without a model `run` ends with an error.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.errors import ConfigurationError, ValidationError

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["HOSTED", "LOCAL", "Found", "Hosted", "Local", "NoModel", "choose", "environment", "probe"]

PROBE_S = 0.6


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A provider that is known by its key's variable. model: asked for unless --model names another."""

    name: str
    key_env: str
    upstream: str
    model: str
    base_env: str = ""


@dataclass(frozen=True, kw_only=True)
class Local:
    """A model server of this machine on its usual port."""

    name: str
    port: int


HOSTED = (
    Hosted(
        name="OpenAI",
        key_env="OPENAI_API_KEY",
        upstream="https://api.openai.com/v1",
        model="gpt-5.4-mini",
        base_env="OPENAI_BASE_URL",
    ),
    Hosted(
        name="Anthropic",
        key_env="ANTHROPIC_API_KEY",
        upstream="https://api.anthropic.com/v1",
        model="claude-haiku-5-5",
        base_env="ANTHROPIC_BASE_URL",
    ),
    Hosted(name="OpenRouter", key_env="OPENROUTER_API_KEY", upstream="https://openrouter.ai/api/v1", model="openai/gpt-5.4-mini"),
    Hosted(name="Groq", key_env="GROQ_API_KEY", upstream="https://api.groq.com/openai/v1", model="openai/gpt-oss-120b"),
    Hosted(
        name="Google",
        key_env="GEMINI_API_KEY",
        upstream="https://generativelanguage.googleapis.com/v1beta/openai",
        model="gemini-3.5-flash",
    ),
    Hosted(name="Mistral", key_env="MISTRAL_API_KEY", upstream="https://api.mistral.ai/v1", model="mistral-medium-latest"),
    Hosted(name="DeepSeek", key_env="DEEPSEEK_API_KEY", upstream="https://api.deepseek.com/v1", model="deepseek-chat"),
)

LOCAL = (
    Local(name="Ollama", port=11434),
    Local(name="LM Studio", port=1234),
    Local(name="llama.cpp", port=8080),
    Local(name="vLLM", port=8000),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model to use. server: keys of a [models.…] section but for the model's name; model: that name; why: for people."""

    server: Mapping[str, Any]
    model: str
    why: str

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """[models.default], and a second section that passes on any other name to the same server."""
        return {"default": {**self.server, "model": self.model}, "any": dict(self.server)}


class NoModel(ConfigurationError):
    """No model is configured, no key is in the environment and no model server answers on this machine."""

    code = "no_model"

    def __init__(self) -> None:
        keys = ", ".join(hosted.key_env for hosted in HOSTED[:3])
        ports = ", ".join(f"{local.name} {local.port}" for local in LOCAL)
        self.lines = (
            f"set a key, for example: export OPENAI_API_KEY=…  (also {keys.removeprefix('OPENAI_API_KEY, ')} and others)",
            f"or start a local model server on its usual port ({ports}), for example: ollama run qwen2.5-coder",
            'or write [models.default] upstream="https://…/v1" model="…" key_env="…" into tether.toml (`tether init` makes one)',
        )
        super().__init__("models.default", "there is no model to ask", "set a key, start a local server, or configure one")


def choose(
    settings: Settings,
    wanted: str | None = None,
    variables: Mapping[str, str] | None = None,
    servers: Sequence[Local] = LOCAL,
) -> Found | None:
    """The model for a worker whose configuration has no [models.default]; None when it has one.

    wanted: a model that a local server must offer. Raises NoModel when there is nothing to ask, ValidationError for `wanted`.
    """
    if "default" in settings.models:
        return None
    variables = os.environ if variables is None else variables
    for hosted in HOSTED:
        if variables.get(hosted.key_env):
            return _hosted(hosted, variables)
    found = _local(wanted, servers)
    if found is None:
        raise NoModel
    return found


def _hosted(hosted: Hosted, variables: Mapping[str, str]) -> Found:
    upstream = (variables.get(hosted.base_env) if hosted.base_env else None) or hosted.upstream
    server = {"upstream": upstream, "key_env": hosted.key_env}
    if hosted.name == "Anthropic":
        server["kind"] = "anthropic"
    return Found(server=server, model=hosted.model, why=f"{hosted.model} at {hosted.name}, by {hosted.key_env}")


def _local(wanted: str | None, servers: Sequence[Local]) -> Found | None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda local: probe(local.port), servers))
    offers = [(local, entry) for local, entries in zip(servers, answers, strict=True) for entry in entries]
    for local, entry in offers:
        if wanted in (None, entry["id"]):
            why = f"{entry['id']} of {local.name} on port {local.port}"
            return Found(server=_local_server(local, entry), model=entry["id"], why=why)
    if offers:
        known = ", ".join(sorted({entry["id"] for _, entry in offers}))
        raise ValidationError("model", f"{wanted!r} is not served on this machine", f"known are {known}")
    return None


def _local_server(local: Local, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Local models cost nothing, and their tools go as a schema: small ones do not keep to native tool calls."""
    server: dict[str, Any] = {"upstream": f"http://127.0.0.1:{local.port}/v1", "free": True, "tools": "schema"}
    window = _window(local, entry)
    return server | ({"context_window": window} if window else {})


def _window(local: Local, entry: Mapping[str, Any]) -> int | None:
    """The context window a server admits to: vLLM in the entry, llama.cpp in its meta, Ollama in a variable."""
    meta = entry.get("meta")
    offered = [entry.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, Mapping) else None]
    for window in offered:
        if isinstance(window, int) and window >= 256:
            return window
    if local.name == "llama.cpp":
        props = _get(local.port, "/props")
        window = props.get("default_generation_settings", {}).get("n_ctx") if isinstance(props, dict) else None
        return window if isinstance(window, int) and window >= 256 else None
    return 4096 if local.name == "Ollama" else None


def probe(port: int) -> list[dict[str, Any]]:
    """The models that a server on 127.0.0.1:port offers; empty when none answers as a model server within PROBE_S."""
    found = _get(port, "/v1/models")
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, list):
        return []
    entries = [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    return [entry for entry in entries if "embed" not in entry["id"].lower()]


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return json.loads(response.read(2_000_000)) if response.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def environment(found: Found | None) -> dict[str, str]:
    """The variables that give a worker this model; the key itself stays in its own variable."""
    if found is None:
        return {}
    return {
        f"TETHER_MODELS__{name.upper()}__{key.upper()}": _written(value)
        for name, section in found.sections.items()
        for key, value in section.items()
    }


def _written(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else value if isinstance(value, str) else json.dumps(value)
