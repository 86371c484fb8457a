"""The model of the built-in agent, asked through the gateway: one request, and what its failures mean for the loop.

The gateway retries the provider, so nothing here does; only a connection to the gateway itself is tried again, because a
gateway that is restarted serves the same listener a second later.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    UnexpectedModelBehavior,
)
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from tether.agent.failure import AgentFailed
from tether.agent.settings import LoopSettings
from tether.agent.toolbox import FINISH

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

__all__ = ["AgentModel", "CallRefused", "Unreadable", "WindowFull", "lay_by"]

#: No answer takes longer: the step's and the task's own limits end the attempt before.
_TIMEOUT = httpx2.Timeout(7200, connect=30)
_RECONNECT_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_AGAIN_AFTER_CUT = 2
_WINDOW_WORDS = re.compile(
    r"context[ _](length|size|window)|maximum context|prompt is too long|too many tokens|exceed_context", re.IGNORECASE
)


class WindowFull(Exception):
    """The request is larger than the model's window."""


class CallRefused(Exception):
    """The gateway refused the call for the task's budget; the supervisor knows and decides."""


class Unreadable(Exception):
    """The model answered, but not with anything that can be read."""


class AgentModel:
    """One model behind the gateway with the tools it may call."""

    def __init__(self, settings: LoopSettings, tools: Sequence[ToolDefinition]) -> None:
        built = _SPARE.pop((settings.provider, settings.model), None) or _build(settings)
        built.address(settings)
        self._http = built.http
        self._model = built.model
        self._asked = ModelRequestParameters(function_tools=list(tools), allow_text_output=True)
        finish = [tool for tool in tools if tool.name == FINISH]
        self._asked_at_last = ModelRequestParameters(function_tools=finish, allow_text_output=True)
        self._settings = _request_settings(settings)

    async def answer(self, messages: Sequence[ModelMessage], *, final: bool = False) -> ModelResponse:
        """The model's answer; raises WindowFull, CallRefused, Unreadable, or AgentFailed when it cannot be had.

        final: the one last call, for which budget was kept back; the model can only finish.
        """
        asked = self._asked_at_last if final else self._asked
        if final:
            self._settings["extra_headers"] = {"x-tether-final": "1"}
        tries = 0
        while True:
            try:
                return await model_request(self._model, messages, model_settings=self._settings, model_request_parameters=asked)
            except Exception as error:
                if self._settings.get("tool_choice") and _objects_to_choice(error):
                    del self._settings["tool_choice"]
                    continue
                if tries >= _tries(error):
                    raise _meaning(error) from error
                await asyncio.sleep(_RECONNECT_S[tries])
                tries += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


@dataclass(frozen=True, kw_only=True)
class _Built:
    """A model and its clients, which are connected to nothing before the first call."""

    base_url: str
    http: httpx2.AsyncClient
    vendor: AsyncOpenAI | AsyncAnthropic
    model: Model[Any]

    def address(self, settings: LoopSettings) -> None:
        """Call the gateway of these settings, with their token."""
        self.vendor.api_key = settings.token
        if settings.base_url != self.base_url:
            self.vendor.base_url = _route(settings)


#: By provider and model: what the zygote built for the one attempt each of its forks is; building writes all over its memory.
_SPARE: dict[tuple[str, str], _Built] = {}


def lay_by(settings: LoopSettings) -> None:
    """Build the model of these settings now, for the next AgentModel with the same provider and model."""
    _SPARE[settings.provider, settings.model] = _build(settings)


def _build(settings: LoopSettings) -> _Built:
    http = _client()
    vendor, model = (_anthropic if settings.provider == "anthropic" else _openai)(settings, http)
    return _Built(base_url=settings.base_url, http=http, vendor=vendor, model=model)


def _route(settings: LoopSettings) -> str:
    return settings.base_url if settings.provider == "anthropic" else f"{settings.base_url}/v1"


def _client() -> httpx2.AsyncClient:
    # The gateway speaks plain HTTP on loopback. A bare TLS context (no authorities, so it trusts nobody) costs 0.1 ms where
    # the default one costs 30 ms of every start; no proxies from the environment, they lead to the web.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(timeout=_TIMEOUT, verify=nobody, trust_env=False)


def _anthropic(settings: LoopSettings, http: httpx2.AsyncClient) -> tuple[AsyncOpenAI | AsyncAnthropic, Model[Any]]:
    # Only here: importing it takes as long as everything else together.
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    vendor = AsyncAnthropic(base_url=_route(settings), api_key=settings.token, http_client=http, max_retries=0)
    return vendor, AnthropicModel(settings.model, provider=AnthropicProvider(anthropic_client=vendor))


def _openai(settings: LoopSettings, http: httpx2.AsyncClient) -> tuple[AsyncOpenAI | AsyncAnthropic, Model[Any]]:
    from openai import AsyncOpenAI

    vendor = AsyncOpenAI(
        base_url=_route(settings),
        api_key=settings.token,
        http_client=http,  # pyright: ignore[reportArgumentType] - the SDK's annotation names an older library
        max_retries=0,
    )
    return vendor, OpenAIChatModel(settings.model, provider=OpenAICompatibleProvider("tether", openai_client=vendor))


def _request_settings(settings: LoopSettings) -> ModelSettings:
    # A text cannot be acted on, so a tool call is asked for; a server that forces it with a grammar leaves no other answer.
    chosen = ModelSettings(tool_choice="required")
    if settings.temperature is not None:
        chosen["temperature"] = settings.temperature
    if settings.max_output is not None:
        chosen["max_tokens"] = settings.max_output
    return chosen


def _objects_to_choice(error: Exception) -> bool:
    """Whether the server does not know (or not for this model) that a tool call can be required."""
    return isinstance(error, ModelHTTPError) and error.status_code in (400, 404, 422) and "tool_choice" in str(error.body)


def _tries(error: Exception) -> int:
    """How often a call is made again: while the gateway is not there, or says it will help; few times once it was sent."""
    if isinstance(error, ModelHTTPError):
        return len(_RECONNECT_S) if error.provider_retry_hint is True else 0
    if isinstance(error, ModelConnectionError):
        return len(_RECONNECT_S) if error.phase in ("pool", "connect") else _AGAIN_AFTER_CUT
    return 0


def _meaning(error: Exception) -> Exception:
    if isinstance(error, ModelContextWindowExceededError):
        return WindowFull(_said(error))
    if isinstance(error, ModelHTTPError):
        if error.status_code == 402:
            return CallRefused(_said(error))
        if error.status_code in (400, 413, 500) and _WINDOW_WORDS.search(str(error.body)):
            return WindowFull(_said(error))
        return AgentFailed("upstream_error", f"the model server answered HTTP {error.status_code}: {_said(error)}")
    # A bare ModelAPIError is an answer that was no JSON: everything else has a class of its own.
    if isinstance(error, UnexpectedModelBehavior | LookupError | ValueError) or type(error) is ModelAPIError:
        return Unreadable(str(error)[:500])
    if isinstance(error, ModelAPIError):
        return AgentFailed("upstream_error", f"the model cannot be reached: {_said(error)}")
    return error


def _said(error: ModelAPIError) -> str:
    """The server's own words where it has any."""
    body: Any = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return inner["message"][:1000]
    return str(body or error)[:1000]
