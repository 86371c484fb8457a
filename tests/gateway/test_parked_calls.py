"""Calls over budget of agents that cannot checkpoint, held at a real gateway process without a thread each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from rig import Attempt, Rig, running
from tether.lifecycle import Reason
from tether.store.rows import Entry, Park
from tether.testing import ScriptedModels

PARKS = {"on_budget_exceeded": "checkpoint_and_pause", "can_checkpoint": False}


@pytest.fixture(scope="module")
def roomy(models: ScriptedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that holds the calls of many attempts, and soon counts a client as gone."""
    with running(tmp_path_factory.mktemp("parked"), models.base_url, max_parked=201, rejoin_s=0.5) as made:
        yield made


def parked_attempt(rig: Rig, **budget: Any) -> Attempt:
    return rig.admit(rig.lease(**budget), policy=PARKS)


def calls_of(models: ScriptedModels, attempt: Attempt) -> int:
    return sum(attempt.key in json.dumps(dict(e.body)) for e in models.ledger)


async def ask(client: openai.AsyncOpenAI, attempt: Attempt, more: str = "") -> Any:
    messages: Any = [{"role": "user", "content": f"{attempt.key} {more}"}]
    return await client.chat.completions.create(model="m", messages=messages)


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_two_hundred_calls_are_held_at_once_without_a_thread_each(roomy: Rig, models: ScriptedModels) -> None:
    """200 attempts wait with a call each; all go on once their budget was raised, none is called twice."""
    attempts = [parked_attempt(roomy, max_llm_calls=0) for _ in range(200)]
    assert roomy.process is not None
    before = threads_of(roomy.process.pid)

    async def all_of_them() -> list[Any]:
        clients = [a.async_openai(max_retries=0) for a in attempts]
        asked = [asyncio.ensure_future(ask(c, a)) for c, a in zip(clients, attempts, strict=True)]
        keys = {a.key for a in attempts}
        await asyncio.to_thread(_all_told, roomy, keys)
        assert threads_of(roomy.process.pid) <= before + 2  # type: ignore[union-attr]
        assert not any(future.done() for future in asked)
        for attempt in attempts:
            roomy.store.update(attempt.claim.task_id, budget={"max_llm_calls": 1})
            roomy.send({"op": "resume", "key": attempt.key})
        answers = await asyncio.gather(*asked)
        for client in clients:
            await client.close()
        return answers

    answers = asyncio.run(all_of_them())
    assert all(a.choices[0].message.content.startswith("one two") for a in answers)
    assert [calls_of(models, attempt) for attempt in attempts] == [1] * 200


def _all_told(rig: Rig, keys: set[str]) -> None:
    for key in keys:
        rig.wait_told(lambda p, key=key: p["op"] == "parked" and p["key"] == key, within_s=60)


def test_a_retry_of_the_client_joins_the_held_call(roomy: Rig, models: ScriptedModels) -> None:
    """A client that gives up waiting and asks the same again is not parked a second time; another question is."""
    attempt = parked_attempt(roomy, max_llm_calls=0)

    async def impatient() -> Any:
        async with attempt.async_openai(max_retries=0, timeout=0.3) as client:
            with pytest.raises(openai.APITimeoutError):
                await ask(client, attempt)
        async with attempt.async_openai(max_retries=0) as client:
            again = asyncio.ensure_future(ask(client, attempt))
            other = asyncio.ensure_future(ask(client, attempt, "else"))
            await asyncio.to_thread(_told_twice, roomy, attempt)
            roomy.store.update(attempt.claim.task_id, budget={"max_llm_calls": 5})
            roomy.send({"op": "resume", "key": attempt.key})
            return await asyncio.gather(again, other)

    asyncio.run(impatient())
    assert _held(roomy, attempt) == 2
    assert calls_of(models, attempt) == 2


def test_a_client_that_left_for_good_is_told_of(roomy: Rig, models: ScriptedModels) -> None:
    """Its call is dropped, and a later approval makes no call."""
    attempt = parked_attempt(roomy, max_llm_calls=0)
    with attempt.openai(max_retries=0, timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": attempt.key}])
    told = roomy.wait_told(lambda p: p["op"] == "unparked" and p["key"] == attempt.key)
    assert told["outcome"] == "dropped"
    roomy.send({"op": "resume", "key": attempt.key})
    assert calls_of(models, attempt) == 0


def test_a_rejected_call_is_refused_for_good(roomy: Rig) -> None:
    """A human said no: 402, never to be retried."""
    attempt = parked_attempt(roomy, max_llm_calls=0)

    async def rejected() -> None:
        async with attempt.async_openai(max_retries=3) as client:
            asked = asyncio.ensure_future(ask(client, attempt))
            await asyncio.to_thread(_all_told, roomy, {attempt.key})
            claim = attempt.claim
            park = Entry(
                task_id=claim.task_id, lease_token=claim.lease_token, attempt=claim.attempt, park=Park(reason=Reason.BUDGET)
            )
            assert roomy.store.journal([park])[0]
            roomy.send({"op": "reject", "key": attempt.key, "why": "too dear"})
            with pytest.raises(openai.APIStatusError, match="too dear") as caught:
                await asked
            assert (caught.value.status_code, caught.value.response.headers["x-should-retry"]) == (402, "false")

    asyncio.run(rejected())


def _held(rig: Rig, attempt: Attempt) -> int:
    return sum(p["op"] == "parked" and p["key"] == attempt.key for p in rig.told)


def _told_twice(rig: Rig, attempt: Attempt) -> None:
    rig.wait_told(lambda p: p["op"] == "parked" and p["key"] == attempt.key and _held(rig, attempt) >= 2)
