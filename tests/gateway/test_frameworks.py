"""Unmodified clients of several vendors and frameworks, their retries on, against a budget: what gets through, what does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rig import Attempt, Rig, eventually
from test_calls import post
from tether.testing import ScriptedModels

N, ALLOWED = 50, 10
WITHIN_S = 90.0
GO = "go {key}"
Ask = Callable[[str], Awaitable[Any]]
Close = Callable[[], Awaitable[Any]]


def openai_chat(attempt: Attempt) -> tuple[Ask, Close]:
    client = attempt.async_openai()

    async def ask(text: str) -> Any:
        return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

    return ask, client.close


def openai_stream(attempt: Attempt) -> tuple[Ask, Close]:
    client = attempt.async_openai()

    async def ask(text: str) -> Any:
        messages: list[Any] = [{"role": "user", "content": text}]
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        return [chunk async for chunk in stream]

    return ask, client.close


def openai_responses(attempt: Attempt) -> tuple[Ask, Close]:
    client = attempt.async_openai()

    async def ask(text: str) -> Any:
        return await client.responses.create(model="m", input=text)

    return ask, client.close


def anthropic_stream(attempt: Attempt) -> tuple[Ask, Close]:
    import anthropic

    client = anthropic.AsyncAnthropic(base_url=attempt.url, api_key=attempt.token)

    async def ask(text: str) -> Any:
        async with client.messages.stream(model="m", max_tokens=100, messages=[{"role": "user", "content": text}]) as stream:
            return await stream.get_final_message()

    return ask, client.close


def pydantic_ai(attempt: Attempt) -> tuple[Ask, Close]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(openai_client=attempt.async_openai())
    return Agent(OpenAIChatModel("m", provider=provider)).run, provider.client.close


def langchain(attempt: Attempt) -> tuple[Ask, Close]:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(model="m", base_url=f"{attempt.url}/v1", api_key=SecretStr(attempt.token))
    return model.ainvoke, model.root_async_client.close


def openai_agents(attempt: Attempt) -> tuple[Ask, Close]:
    from agents import Agent, OpenAIResponsesModel, RunConfig, Runner

    client = attempt.async_openai()
    agent = Agent(name="one", model=OpenAIResponsesModel(model="m", openai_client=client))

    async def ask(text: str) -> Any:
        return await Runner.run(agent, text, run_config=RunConfig(tracing_disabled=True))

    return ask, client.close


CLIENTS = [openai_chat, openai_stream, openai_responses, anthropic_stream, pydantic_ai, langchain, openai_agents]


async def _all_at_once(ask: Ask, close: Close, text: str) -> list[Any]:
    try:
        async with asyncio.timeout(WITHIN_S):
            return await asyncio.gather(*(ask(text) for _ in range(N)), return_exceptions=True)
    finally:
        await close()


@pytest.mark.parametrize("client", CLIENTS, ids=[client.__name__ for client in CLIENTS])
def test_exactly_the_allowed_calls_get_through(
    client: Callable[[Attempt], tuple[Ask, Close]], rig: Rig, models: ScriptedModels
) -> None:
    """Of 50 calls at once 10 reach the provider; the others are refused once, are not retried, and no client hangs."""
    claim = rig.lease(max_llm_calls=ALLOWED, max_usd=5)
    attempt = rig.admit(claim, policy={"on_budget_exceeded": "terminate", "can_checkpoint": True})
    got = asyncio.run(_all_at_once(*client(attempt), GO.format(key=attempt.key)))
    errors = [each for each in got if isinstance(each, BaseException)]
    assert len(errors) == N - ALLOWED, errors[:3]
    assert {getattr(each, "status_code", 402) for each in errors} == {402}, errors[:3]
    assert sum(attempt.key in json.dumps(dict(entry.body)) for entry in models.ledger) == ALLOWED
    asked, asked_s = 0, time.monotonic()

    def counted() -> bool:
        """Refusals are journaled once a second with how many came since; one more a second later brings out the rest."""
        nonlocal asked, asked_s
        if sum(1 + event["repeats"] for event in attempt.events("call_refused")) == N - ALLOWED + asked:
            return True
        if time.monotonic() - asked_s < 1.1:
            return False
        asked_s = time.monotonic()
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "one more"}]}).encode()
        assert post(attempt, "/v1/chat/completions", body)[0] == 402
        asked += 1
        return False

    eventually(counted, 15)
    assert attempt.usage["llm_calls"] == ALLOWED
