"""The built-in agent through everything real but the model: worker, gateway, tools, egress; on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from site_of_workers import Site, site
from tether.testing.script import Reply, Request, call, reply
from tether.testing.scripted import ScriptedModels
from tether.testing.web import WebSite

_MODEL = """\
[models.default]
upstream = "{upstream}"
model = "scripted"
[prices.scripted]
input_usd_per_mtok = 1
output_usd_per_mtok = 10
context_window = 100000
max_output = 1000
[egress]
allow_private = ["127.0.0.1:{port}"]
ports = [80, 443, {port}]
"""


def _finish(result: object) -> Reply:
    return reply(tools=[call("finish", thought="done", result=result, summary="done")])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, ScriptedModels, WebSite]]:
    """A worker with the built-in agent, its scripted model and a web site."""
    with WebSite() as web, ScriptedModels([]) as models:
        port = int(web.url.rsplit(":", 1)[1])
        more = _MODEL.format(upstream=models.base_url, port=port)
        with site(tmp_path_factory.mktemp("autogpt"), agents={}, more=more, builtin=True) as place:
            place.add_worker()
            yield place, models, web


def test_pages_are_fetched_through_the_counted_way_out(stage: tuple[Site, ScriptedModels, WebSite]) -> None:
    """web_fetch reads a page through the proxy, and the request is counted and journaled."""
    place, models, web = stage

    def script(request: Request) -> Reply:
        if request.turn == 0:
            return reply(tools=[call("web_fetch", thought="read it", url=f"{web.url}/")])
        return _finish(request.results[-1][:200])

    models.change(script)
    handle = place.submit("autogpt", "read the page")
    task = place.settled(handle)
    assert task.state == "succeeded", task.message
    assert task.usage.web_requests == 1
    row = place.events(handle, "web_request")[0]
    assert (row["host"], row["status"], row["outcome"]) == ("127.0.0.1", 200, "ok")
    assert task.usage.llm_calls == 2
    assert task.usage.nanousd > 0


def test_web_requests_stop_at_their_limit(stage: tuple[Site, ScriptedModels, WebSite]) -> None:
    """The request that would pass max_web_requests is not made; the task pauses and says so."""
    place, models, web = stage
    models.change(lambda request: reply(tools=[call("web_fetch", thought=f"again {request.turn}", url=f"{web.url}/")]))
    task = place.settled(place.submit("autogpt", "read for ever", budget={"max_web_requests": 2}))
    assert (task.state, task.reason, task.usage.web_requests) == ("paused", "budget", 2)


def test_a_private_address_is_refused(stage: tuple[Site, ScriptedModels, WebSite]) -> None:
    """The metadata service of a cloud is out of reach, and the agent is told why."""
    place, models, _ = stage

    def script(request: Request) -> Reply:
        if request.turn == 0:
            return reply(tools=[call("web_fetch", thought="keys", url="http://169.254.169.254/latest/meta-data/")])
        return _finish(request.results[-1][:300])

    models.change(script)
    task = place.settled(place.submit("autogpt", "get the keys"))
    assert task.state == "succeeded"
    assert task.usage.web_requests == 0 or "169.254" in str(task.result)
    assert "meta-data" not in str(task.result).replace("/latest/meta-data/", "")


def test_dollars_stop_before_they_are_spent(stage: tuple[Site, ScriptedModels, WebSite]) -> None:
    """max_usd refuses the call that could pass it; approval lets the task finish; nothing is paid twice."""
    place, models, _ = stage

    def script(request: Request) -> Reply:
        if request.turn < 6:
            return reply(tools=[call("write_file", thought="go on", path="n.txt", content=str(request.turn))])
        return _finish("written")

    models.change(script)
    before = len(models.ledger)
    handle = place.submit("autogpt", "write on", budget={"max_usd": 0.02})
    task = place.settled(handle)
    assert (task.state, task.reason) == ("paused", "budget")
    assert task.usage.nanousd <= 20_000_000
    handle.approve(add={"max_usd": 1}, by="anna")
    task = handle.wait(until="final", timeout=60)
    assert task.state == "succeeded", task.message
    assert len(models.ledger) - before == task.usage.llm_calls == 7
    assert (place.settings.workspaces / handle.id / "n.txt").read_text() == "5"


def test_keys_are_not_in_the_attempt(stage: tuple[Site, ScriptedModels, WebSite], tmp_path: Path) -> None:
    """What the agent's tools can see holds the attempt's token and no key of the worker."""
    place, models, _ = stage

    def script(request: Request) -> Reply:
        if request.turn == 0:
            return reply(
                tools=[call("run_shell", thought="look", command=f"env; cat {place.file} {place.folder}/tether.db | head -5")]
            )
        return _finish(request.results[-1])

    models.change(script)
    task = place.settled(place.submit("autogpt", "look around"))
    assert task.state == "succeeded"
    seen = str(task.result)
    assert "TETHER_TASK" in seen
    assert "upstream" not in seen
    assert "SQLite format" not in seen
    assert str(tmp_path) not in seen
