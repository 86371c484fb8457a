"""The promise about money, through real gateway processes: in whatever order things happen, no limit is passed and books agree.

Two gateways serve one task at the same time on one store (SQLite and PostgreSQL); waves of calls and web requests come
over both, and in the middle of a wave a limit is raised or a gateway is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rig import PRICE, Attempt, Rig, eventually, running
from servers import make_database
from tether.gateway.options import ModelOptions, PriceOptions
from tether.gateway.prices import PriceList, TokenUsage
from tether.testing import Request, ScriptedModels, Usage, WebSite, fault, reply

_OURS = aiohttp.ClientTimeout(total=60)
_SHEET = PriceList({"scripted": PriceOptions(**PRICE)}).sheet(ModelOptions(alias="m", upstream="http://x"), "scripted")
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Wave:
    """What happens at once. calls: (over which gateway, streamed, with how much output it is asked for); act: in the middle."""

    calls: tuple[tuple[int, bool, int], ...]
    visits: int
    act: str


_calls = st.tuples(st.integers(0, 1), st.booleans(), st.sampled_from([1, 40, 400]))
_waves = st.builds(
    Wave,
    calls=st.lists(_calls, min_size=1, max_size=10).map(tuple),
    visits=st.integers(0, 6),
    act=st.sampled_from(["nothing", "nothing", "raise", "kill"]),
)


def _answer(request: Request):
    """An honest provider: never more output than was allowed; what it counts names the call; some answers are slow."""
    word, number = request.asked.split()[:2]
    usage = Usage(input_tokens=10 + int(number) % 50, output_tokens=min(5 + int(number) % 500, request.max_tokens or 0))
    return reply("said", usage=usage, fault=fault("delay", seconds=0.3) if word == "slow" else None)


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedModels]:
    """The provider; its ledger is the truth about what was spent."""
    with ScriptedModels(_answer, api_key="sk-provider-key") as server:
        yield server


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    """A small web site; its visits are the truth about what was asked of it."""
    with WebSite() as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateways(
    request: pytest.FixtureRequest, models: ScriptedModels, site: WebSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rig, Rig]]:
    """Two gateway processes on one store."""
    folder = tmp_path_factory.mktemp("ledgers")
    url = (
        f"sqlite:///{folder}/both.db"
        if request.param == "sqlite"
        else make_database(request.getfixturevalue("postgres_url"), f"ledgers_{os.getpid()}")
    )
    egress = {"allow_private": [f"127.0.0.1:{site.port}"]}
    with contextlib.ExitStack() as stack:
        made = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            made.append(stack.enter_context(running(folder / name, models.base_url, store_url=url, egress=egress)))
        yield made[0], made[1]


class Trial:
    """One task with limits, reachable over both gateways, and what its calls came to."""

    def __init__(self, gateways: tuple[Rig, Rig], models: ScriptedModels, site: WebSite, limits: dict[str, Any]) -> None:
        self.rigs = gateways
        self.models = models
        self.site = site
        self.limits = limits
        claim = gateways[0].lease(**limits)
        self.attempts = [rig.admit(claim) for rig in gateways]
        self.killed = False

    @property
    def first(self) -> Attempt:
        """The attempt as the first gateway serves it; the task is the same."""
        return self.attempts[0]

    async def wave(self, wave: Wave) -> None:
        """All at once, the act in the middle; then the books are compared."""
        async with aiohttp.ClientSession(timeout=_OURS) as http:
            asked = [asyncio.ensure_future(self._call(http, wave, *call)) for call in wave.calls]
            asked += [asyncio.ensure_future(self._visit(http)) for _ in range(wave.visits)]
            await self._act(wave, asked)
            await asyncio.gather(*asked)
        if wave.act == "kill":
            self._after_a_kill()
        self._compare()

    async def _call(self, http: aiohttp.ClientSession, wave: Wave, over: int, streamed: bool, output: int) -> None:
        attempt, word = self.attempts[over], "slow" if wave.act == "kill" else "quick"
        messages = [{"role": "user", "content": f"{word} {next(_numbers)} {attempt.key} "}]
        body = {"model": "m", "messages": messages, "stream": streamed, "max_tokens": output}
        headers = {"Authorization": f"Bearer {attempt.token}"}
        with contextlib.suppress(aiohttp.ClientError):
            async with http.post(f"{attempt.url}/v1/chat/completions", json=body, headers=headers) as got:
                await got.read()
                assert got.status in (200, 402), await got.text()

    async def _visit(self, http: aiohttp.ClientSession) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            url = f"{self.site.url}/?{self.first.key}"
            async with http.get(url, proxy=self.attempts[1].proxy) as got:
                assert got.status in (200, 402), await got.text()

    async def _act(self, wave: Wave, asked: list[asyncio.Future[None]]) -> None:
        if wave.act == "raise":
            self.limits = {name: more * 2 for name, more in self.limits.items()}
            store = self.rigs[0].store
            await asyncio.to_thread(store.update, self.first.claim.task_id, budget=self.limits)
        elif wave.act == "kill":
            before = len(self.models.ledger)
            while len(self.models.ledger) == before and not all(one.done() for one in asked):
                await asyncio.sleep(0.01)
            self.killed = True
            assert self.rigs[0].process is not None
            self.rigs[0].process.kill()

    def _after_a_kill(self) -> None:
        """As a supervisor does: the dead gateway's calls are settled at their holds, and another one takes over."""
        rig = self.rigs[0]
        assert rig.process is not None
        rig.process.wait(10)
        claim = self.first.claim
        self._settled_by_the_other()
        rig.store.settle_orphans(lease_tokens=[claim.lease_token])
        rig.told.clear()
        rig.start()
        self.attempts[0] = rig.admit(claim)

    def _settled_by_the_other(self) -> None:
        """Whoever got an answer over the living gateway has it settled a moment later."""
        told = self.rigs[1]
        key = self.first.key
        started = {p["call_id"] for p in _said(told) if p["op"] == "call_started" and p["key"] == key}
        eventually(lambda: started <= {p["call_id"] for p in _said(told) if p["op"] == "call_ended"}, 30)

    def _compare(self) -> None:
        (rows,) = eventually(self._all_settled, 30)
        counters = self.rigs[1].store.counters(self.first.claim.task_id)
        llm, web = [r for r in rows if r.kind == "llm"], [r for r in rows if r.kind == "web"]
        assert counters.llm_calls == len(llm) <= self.limits["max_llm_calls"]
        assert counters.web_requests == len(web) <= self.limits["max_web_requests"]
        assert counters.nanousd == sum(r.nanousd for r in rows) <= counters.max_nanousd
        assert counters.held_nanousd == counters.held_tokens == 0
        paid = Counter((r.input_tokens, r.output_tokens, r.nanousd) for r in llm if r.input_tokens is not None)
        known = Counter(self._billed())
        assert paid <= known, "the journal has a call that the provider does not know"
        unknown = sum(r.input_tokens is None for r in llm)
        assert (known - paid).total() <= unknown, "the provider was paid for a call that the journal does not have"
        assert unknown == 0 or self.killed
        visits = sum(self.first.key in visit for visit in self.site.visits)
        assert visits <= len(web)
        assert visits == len(web) or self.killed

    def _all_settled(self) -> tuple[list[Any], ...]:
        rows = self.first.calls()
        return (rows,) if all(r.state == "settled" for r in rows) else ()

    def _billed(self) -> Iterator[tuple[int, int, int]]:
        for entry in self.models.ledger:
            if self.first.key in str(entry.body["messages"]):
                _, number, *_ = entry.body["messages"][0]["content"].split()
                tokens = TokenUsage(
                    input=10 + int(number) % 50, output=min(5 + int(number) % 500, entry.body.get("max_tokens") or 0)
                )
                yield tokens.input, tokens.output, _SHEET.cost(tokens)


def _said(rig: Rig) -> list[dict[str, Any]]:
    """Everything the gateway told its supervisor up to now."""
    with contextlib.suppress(AssertionError):
        rig.wait_told(lambda _: False, within_s=0.05)
    return rig.told


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    waves=st.lists(_waves, min_size=1, max_size=3),
    calls=st.integers(1, 12),
    usd=st.sampled_from([0.0008, 0.002, 1.0]),
    visits=st.integers(0, 5),
)
def test_no_limit_is_passed_and_both_books_agree(
    gateways: tuple[Rig, Rig], models: ScriptedModels, site: WebSite, waves: list[Wave], calls: int, usd: float, visits: int
) -> None:
    """Calls, web requests and spend never pass their limits, and provider and journal agree on every call but those under way
    at a kill, which are paid at their holds."""
    trial = Trial(gateways, models, site, {"max_llm_calls": calls, "max_usd": usd, "max_web_requests": visits})
    for wave in waves:
        asyncio.run(trial.wave(wave))
