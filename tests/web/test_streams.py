"""Server-sent events: from where one left off, as they happen, bounded for readers that do not read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from api_server import until
from played import PlayedWorker
from tether.events import Event, NewEvent
from tether.store.rows import Append
from tether.web.tail import Follower

STREAM = {"Accept": "text/event-stream"}


def submitted(http: httpx2.Client) -> str:
    """The id of a new task."""
    return http.post("/v1/tasks", json={"goal": "look"}).json()["id"]


def read(lines: Iterator[str], count: int) -> list[dict[str, Any]]:
    """The next events of a stream."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


def test_a_reader_gets_what_was_and_what_comes(api: Any, http: httpx2.Client) -> None:
    """The journal from the beginning, then each event soon after it is written, until the task is final; then 204."""
    task_id = submitted(http)
    with http.stream("GET", f"/v1/tasks/{task_id}/events", headers=STREAM) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert [event["type"] for event in read(lines, 1)] == ["task_submitted"]
        api.store.append([Append(task_id=task_id, events=(NewEvent(type="agent_log", data={"text": "on"}),))])
        before = time.monotonic()
        assert read(lines, 1)[0]["data"]["text"] == "on"
        assert time.monotonic() - before < 10
        http.post(f"/v1/tasks/{task_id}/cancel")
        assert [event["type"] for event in read(lines, 5)] == ["cancel_requested", "task_cancelled"][-1:]
    done = http.get(f"/v1/tasks/{task_id}/events", headers={**STREAM, "Last-Event-ID": "3"})
    assert done.status_code == 204


def test_a_stream_resumes_behind_the_last_event(api: Any, http: httpx2.Client) -> None:
    """Last-Event-ID gives each event once, over many pages of the store."""
    task_id = submitted(http)
    events = tuple(NewEvent(type="agent_log", data={"text": str(n)}) for n in range(500))
    api.store.append([Append(task_id=task_id, events=events)])
    seen: list[int] = []
    for count in (120, 381):
        headers = {**STREAM, "Last-Event-ID": str(seen[-1] if seen else 0)}
        with http.stream("GET", f"/v1/tasks/{task_id}/events", headers=headers) as stream:
            seen += [event["seq"] for event in read(stream.iter_lines(), count)]
    assert seen == list(range(1, 502))


def test_many_readers_cost_one_look(api: Any, http: httpx2.Client) -> None:
    """Thirty readers of a quiet task ask the store nothing; the tail asks for all of them."""
    task_id = submitted(http)
    asked = {"events": 0}
    inner = api.server.app.state.service.store.events

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked["events"] += 1
        return inner(*args, **kwargs)

    streams = [api.client() for _ in range(30)]
    ready = threading.Barrier(31)
    got: list[list[str]] = []

    def follow(client: httpx2.Client) -> None:
        with client.stream("GET", f"/v1/tasks/{task_id}/events", headers=STREAM) as stream:
            lines = stream.iter_lines()
            read(lines, 1)
            ready.wait(30)
            got.append([event["type"] for event in read(lines, 1)])

    threads = [threading.Thread(target=follow, args=(client,)) for client in streams]
    for thread in threads:
        thread.start()
    ready.wait(30)
    tail = api.server.app.state.service.tail
    until(lambda: tail.count == 30, "not all follow")
    api.server.app.state.service.store.events = counted
    try:
        api.store.append([Append(task_id=task_id, events=(NewEvent(type="agent_log", data={"text": "on"}),))])
        for thread in threads:
            thread.join(30)
    finally:
        del api.server.app.state.service.store.events
    assert got == [["agent_log"]] * 30
    assert asked["events"] <= 3  # a reader that came just now may look once
    until(lambda: tail.count == 0, "readers that left are still followed for")


def test_a_page_of_the_journal(http: httpx2.Client) -> None:
    """As JSON it is a list with a cursor; types filter it, unknown ones match nothing."""
    task_id = submitted(http)
    http.post(f"/v1/tasks/{task_id}/pause")
    path = f"/v1/tasks/{task_id}/events"
    page = http.get(path, params={"limit": 1}).json()
    assert (page["data"][0]["type"], page["next_cursor"]) == ("task_submitted", "1")
    rest = http.get(path, params={"after": page["next_cursor"]}).json()
    assert [event["type"] for event in rest["data"]] == ["task_paused"]
    assert http.get(path, params={"type": "task_paused"}).json()["data"] == rest["data"]
    assert http.get(path, params={"type": "nonsense"}).json()["data"] == []


@pytest.mark.parametrize("count", [10, 10_000])
def test_a_reader_that_falls_behind_keeps_little(count: int) -> None:
    """What waits for one reader is bounded; over the bound it is told to read from the store instead."""
    follower = Follower()
    for seq in range(count):
        follower.put(Event(task_id="t", seq=seq, attempt=None, step=None, type="agent_log", at_ms=0, data={}))
    assert len(follower.events) <= 256
    assert follower.missed == (count > 256)


def test_following_ends_with_the_worker(http: httpx2.Client, worker: PlayedWorker) -> None:
    """A stream that is open when the task ends gets the end and closes."""
    http.post("/v1/tasks", json={"goal": "look", "priority": 1000})
    claim = worker.claim()
    with http.stream("GET", f"/v1/tasks/{claim.task_id}/events", headers=STREAM) as stream:
        lines = stream.iter_lines()
        read(lines, 2)
        worker.succeed(claim, "ok")
        assert [event["type"] for event in read(lines, 99)][-1] == "task_succeeded"
