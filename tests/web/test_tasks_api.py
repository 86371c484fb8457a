"""Tasks over REST on both databases: submit, wait, list, change, decide, erase."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from api_server import until
from played import PlayedWorker
from servers import make_database
from tether.task import ApprovalKind


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def api(request: pytest.FixtureRequest, make_api: Callable[..., Any]) -> Any:
    """A server on each database."""
    if request.param == "sqlite":
        return make_api()
    return make_api(make_database(request.getfixturevalue("postgres_url"), f"tether_{uuid.uuid4().hex}"))


def submit(http: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """A submitted task."""
    answer = http.post("/v1/tasks", json={"goal": "look", **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_submit_follow_and_read_the_result(http: httpx2.Client, worker: PlayedWorker) -> None:
    """A submission is accepted with its place, and its result is there once a worker is done."""
    answer = http.post("/v1/tasks", json={"goal": "look", "budget": {"max_usd": 1.5}, "user": "ann", "tags": ["a"]})
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert (task["state"], task["budget"]["max_usd"], task["user"]) == ("queued", 1.5, "ann")
    worker.succeed(worker.claim(), {"found": 3})
    done = http.get(answer.headers["location"], params={"wait_for": "settled", "timeout": 10})
    assert (done.json()["state"], done.json()["result"]) == ("succeeded", {"found": 3})
    result = http.get(f"/v1/tasks/{task['id']}/result").json()
    assert (result["state"], result["result"], result["partial"]) == ("succeeded", {"found": 3}, None)


@pytest.mark.parametrize("start_at", [None, "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
def test_the_answer_to_a_submission_is_what_a_read_gives(http: httpx2.Client, start_at: str | None) -> None:
    """Byte for byte, with every field set."""
    fields = {
        "input": {"a": [1, None]},
        "tags": ["a", "b"],
        "metadata": {"k": "v"},
        "user": "ann",
        "priority": -3,
        "budget": {"max_usd": 0.1, "max_steps": 7},
        "timeouts": {"step_s": 9},
        "max_attempts": 2,
    }
    made = submit(http, **fields, **({"start_at": start_at} if start_at else {}))
    assert http.get(f"/v1/tasks/{made['id']}").json() == made
    http.post(f"/v1/tasks/{made['id']}/cancel")


def test_waiting_ends_when_the_task_settles(http: httpx2.Client, worker: PlayedWorker) -> None:
    """A long poll answers soon after the change, not at its timeout; `Prefer: wait` does the same for a submission."""
    body = {"goal": "look", "idempotency_key": uuid.uuid4().hex}
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(http.post, "/v1/tasks", json=body, headers={"Prefer": "wait=30"})
        claim = _claimed(worker)
        polling = threads.submit(http.get, f"/v1/tasks/{claim.task_id}", params={"wait_for": "final", "timeout": 30})
        worker.fail(claim)
        assert waiting.result(20).status_code == 200
        assert waiting.result(20).headers["preference-applied"] == "wait=30"
        assert polling.result(20).json()["state"] == "failed"


def _claimed(worker: PlayedWorker) -> Any:
    """The next task to come."""
    found: list[Any] = []
    until(lambda: found.extend(worker.store.claim(worker.id, worker.agents, 1)) or bool(found), "nothing to claim")
    return found[0]


def claimed(worker: PlayedWorker, task: dict[str, Any]) -> Any:
    """This task, whatever else is queued."""
    while (claim := worker.claim()).task_id != task["id"]:
        pass
    return claim


def test_an_idempotency_key_makes_a_task_once(http: httpx2.Client) -> None:
    """The same request again is the same task; another body with the key is refused."""
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = http.post("/v1/tasks", json={"goal": "once"}, headers=headers)
    again = http.post("/v1/tasks", json={"goal": "once"}, headers=headers)
    other = http.post("/v1/tasks", json={"goal": "twice"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert "idempotent-replayed" not in first.headers
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_submissions_at_the_same_time_hurt_each_other_nothing(http: httpx2.Client) -> None:
    """Fifty at once, one of them with a used key and one with a bad agent: each gets its own answer."""
    key = uuid.uuid4().hex
    submit(http, idempotency_key=key)
    bodies: list[dict[str, Any]] = [{"goal": f"g{n}"} for n in range(48)]
    bodies += [{"goal": "other", "idempotency_key": key}, {"goal": "x", "agent": "nobody"}]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda body: http.post("/v1/tasks", json=body), bodies))
    assert [answer.status_code for answer in answers] == [202] * 48 + [422, 422]
    assert [answer.json()["goal"] for answer in answers[:48]] == [f"g{n}" for n in range(48)]
    assert answers[-1].json()["field"] == "agent"


def test_lists_go_page_by_page(http: httpx2.Client) -> None:
    """Keyset cursors give every task once, newest first, whatever is submitted meanwhile."""
    tag = uuid.uuid4().hex
    ids = [submit(http, tags=[tag])["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"tag": tag, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/tasks", params=params).json()
        seen += [task["id"] for task in page["data"]]
        submit(http, tags=[tag])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert http.get("/v1/tasks", params={"cursor": "nonsense"}).status_code == 422


def test_changes_need_the_revision_that_was_read(http: httpx2.Client) -> None:
    """If-Match with an older ETag is 412, with the current one it changes; limits of a running task too."""
    task = submit(http)
    path = f"/v1/tasks/{task['id']}"
    tag = http.get(path).headers["etag"]
    first = http.patch(path, json={"budget": {"max_usd": 7}, "note": "more"}, headers={"If-Match": tag})
    assert (first.status_code, first.json()["budget"]["max_usd"]) == (200, 7)
    assert first.headers["etag"] != tag
    stale = http.patch(path, json={"priority": 5}, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "revision_conflict")
    assert http.patch(path, json={"priority": 5}, headers={"If-Match": "*"}).json()["priority"] == 5
    assert http.patch(path, json={}).json()["priority"] == 5


def test_actions_and_their_refusals(http: httpx2.Client) -> None:
    """Pause, resume, cancel and retry do what they say; what makes no sense is 409 with the state."""
    task = submit(http)
    path = f"/v1/tasks/{task['id']}"
    assert http.post(f"{path}/pause", json={"note": "wait", "by": "ann"}).json()["state"] == "paused"
    assert http.post(f"{path}/resume").json()["state"] == "queued"
    assert http.post(f"{path}/cancel").json()["state"] == "cancelled"
    refused = http.post(f"{path}/pause")
    assert (refused.status_code, refused.json()["code"], refused.json()["state"]) == (409, "illegal_transition", "cancelled")
    assert http.post(f"{path}/retry").json()["state"] == "queued"
    audit = http.get("/v1/audit", params={"about": task["id"]}).json()["data"]
    assert [(line["action"], line["outcome"]) for line in audit] == [
        ("retry", "done"),
        ("pause", "illegal_transition"),
        ("cancel", "done"),
        ("resume", "done"),
        ("pause", "done"),
    ]
    assert audit[-1]["actor"].startswith("ann (key ")


def test_a_budget_pause_is_approved_over_rest(http: httpx2.Client, worker: PlayedWorker) -> None:
    """The open question is listed, a decision with more budget queues the task again, and the log has who decided."""
    task = submit(http, priority=1000, budget={"max_llm_calls": 0})
    claim = claimed(worker, task)
    worker.pause(claim, ApprovalKind.BUDGET, "more calls?", {"limit": "max_llm_calls"})
    asked = http.get("/v1/approvals", params={"task_id": task["id"]}).json()["data"][0]
    assert http.get(f"/v1/approvals/{asked['id']}").json()["question"] == "more calls?"
    path = f"/v1/approvals/{asked['id']}/decision"
    assert http.post(path, json={"decision": "approve"}).status_code == 422
    decided = http.post(path, json={"decision": "approve", "add": {"max_llm_calls": 4}, "by": "ann"})
    assert (decided.json()["state"], decided.json()["budget"]["max_llm_calls"]) == ("queued", 4)
    assert http.post(path, json={"decision": "approve", "add": {"max_llm_calls": 4}}).status_code == 409
    closed = http.get("/v1/approvals", params={"task_id": task["id"], "state": "any"}).json()["data"][0]
    assert closed["decided_by"].startswith("ann (key ")
    assert http.get("/v1/audit", params={"about": task["id"]}).json()["data"][0]["outcome"] == "conflict"


def test_erasing_keeps_the_figures(http: httpx2.Client, worker: PlayedWorker) -> None:
    """DELETE empties what a final task says and keeps what it cost; a live one is refused."""
    task = submit(http, priority=1000, goal="a secret plan")
    path = f"/v1/tasks/{task['id']}"
    assert http.delete(path).status_code == 409
    claim = claimed(worker, task)
    worker.step(claim, 1, "thinking of the secret plan")
    worker.succeed(claim, {"secret": "plan"})
    assert http.delete(path).status_code == 204
    kept = http.get(path).json()
    assert (kept["goal"], kept["result"], kept["usage"]["usd"]) == ("", None, 0.002)
    assert "secret plan" not in http.get(f"{path}/events", params={"limit": 1000}).text
    assert "secret plan" not in http.get("/v1/audit", params={"about": task["id"]}).text


def test_the_inside_of_an_attempt(http: httpx2.Client, worker: PlayedWorker) -> None:
    """Checkpoint and dump of an attempt are there; one that never was is 404."""
    task = submit(http, priority=1000)
    claim = claimed(worker, task)
    worker.step(claim, 1, "hm")
    worker.dump(claim, "File x line 3")
    worker.fail(claim)
    path = f"/v1/tasks/{task['id']}/attempts"
    state = http.get(f"{path}/1/state").json()
    assert (state["checkpoint"]["state"], state["dump"]["stacks"]) == ({"at": 1}, "File x line 3")
    assert http.get(f"{path}/2/state").status_code == 404


def test_usage_and_exports(http: httpx2.Client, worker: PlayedWorker) -> None:
    """Sums by type and by model agree with the tasks; exports stream the same rows, safe for a spreadsheet."""
    kind = f"t{uuid.uuid4().hex}"
    for goal in ("=1+1", "plain"):
        claim = claimed(worker, submit(http, priority=1000, goal=goal, task_type=kind))
        worker.step(claim, 1, "hm")
        worker.succeed(claim, "ok")
    rows = http.get("/v1/usage", params={"group_by": "task_type", "bucket": "day"}).json()["data"]
    mine = next(row for row in rows if row["task_type"] == kind)
    assert (mine["tasks"], mine["usd"], mine["llm_calls"]) == (2, 0.004, 2)
    models = http.get("/v1/usage", params={"group_by": "task_type,model"}).json()["data"]
    found = next(row for row in models if row["task_type"] == kind)
    assert (found["model"], found["usd"], found["tokens"]) == ("scripted", 0.004, 240)
    sheet = http.get("/v1/exports/tasks", params={"task_type": kind}).text
    assert ",'=1+1," in sheet
    assert len(http.get("/v1/exports/tasks", params={"task_type": kind, "format": "json"}).json()["data"]) == 2
    assert len(http.get("/v1/exports/tasks", params={"task_type": kind, "format": "jsonl"}).text.splitlines()) == 2
    assert http.get("/v1/exports/usage").text.startswith("tasks,")


def test_figures_for_prometheus(http: httpx2.Client) -> None:
    """/metrics is text that Prometheus reads; health and readiness need no key."""
    text = http.get("/metrics").text
    assert 'tether_tasks{task_type="default",state=' in text
    assert "tether_approvals_open" in text
    assert http.get("/healthz", headers={"Authorization": ""}).json() == {"status": "ok"}
    assert http.get("/readyz", headers={"Authorization": ""}).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "body",
    [
        {"goal": "x", "tags": ["a"], "metadata": {"k": "v"}, "budget": {"max_usd": "0.5"}, "start_at": "2099-01-01T00:00:00Z"},
        {"goal": ""},
        {"goal": "x", "unknown": 1},
        {"goal": "x", "agent": "nobody"},
        {"goal": "x", "budget": {"max_usd": 10**9}},
        {"goal": "x", "tenant": "other"},
        {"goal": "x", "files": {"a": "upload:upload_00000000000000000000000000"}},
        [],
    ],
)
def test_the_short_way_answers_like_the_route(api: Any, body: Any) -> None:
    """An ordinary submission takes a short way; status, fields, problems and headers are those of the route."""
    http = api.client()
    short = http.post("/v1/tasks", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    usual = http.post("/v1/tasks", json=body, params={"dry_run": "false"}, headers={"Idempotency-Key": uuid.uuid4().hex})
    of_its_own = {"id", "created_at", "updated_at"}
    answers = [{k: v for k, v in answer.json().items() if k not in of_its_own} for answer in (short, usual)]
    assert answers[0] == answers[1]
    assert (short.status_code, set(short.headers)) == (usual.status_code, set(usual.headers))
