"""Links for end users: they do what was chosen, for one task, up to an amount, until they expire."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from played import PlayedWorker
from tether.task import ApprovalKind
from tether.web.links import Link, sign


def paused(http: httpx2.Client, worker: PlayedWorker, kind: str = ApprovalKind.BUDGET) -> str:
    """The id of a task that waits for a human."""
    http.post("/v1/tasks", json={"goal": "look <b>", "priority": 1000, "budget": {"max_usd": 1, "max_llm_calls": 0}})
    claim = worker.claim()
    worker.pause(claim, kind, "more?", {"limit": "max_llm_calls"})
    return claim.task_id


def link(http: httpx2.Client, task_id: str, **fields: Any) -> str:
    """A link's token."""
    made = http.post(f"/v1/tasks/{task_id}/links", json=fields)
    assert made.status_code == 201, made.text
    return made.json()["token"]


def test_a_link_approves_up_to_its_amount_in_all(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """However often it is used, no more is added than was chosen; the log has that it was a link, and whose."""
    task_id = paused(http, worker)
    path = f"/v1/links/{link(http, task_id, actions=['approve'], most={'max_llm_calls': 10}, by='ann')}"
    user = api.with_token(None)
    seen = user.get(path).json()
    assert (seen["question"], seen["actions"], seen["may_add"]) == ("more?", ["approve"], {"max_llm_calls": 10})
    assert not {"attempts", "usage", "tenant", "budget"} & seen.keys()
    much = user.post(path, json={"action": "approve", "add": {"max_llm_calls": 11}})
    other = user.post(path, json={"action": "approve", "add": {"max_usd": 1}})
    assert [answer.status_code for answer in (much, other)] == [422, 422]
    assert user.post(path, json={"action": "approve", "add": {"max_llm_calls": 8}}).json()["state"] == "queued"
    assert user.get(path).json()["may_add"] == {}
    line = http.get("/v1/audit", params={"about": task_id}).json()["data"][0]
    assert (line["action"], "link by ann" in line["actor"]) == ("approve", True)
    claim = worker.claim()
    assert claim.task_id == task_id
    worker.pause(claim, ApprovalKind.BUDGET, "again?", {"limit": "max_llm_calls"})
    assert user.get(path).json()["may_add"] == {"max_llm_calls": 2}
    assert user.post(path, json={"action": "approve", "add": {"max_llm_calls": 3}}).status_code == 422


def test_a_link_does_only_what_was_chosen(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """Other actions are refused, GET changes nothing, and the token opens nothing else."""
    task_id = paused(http, worker, ApprovalKind.QUESTION)
    token = link(http, task_id, actions=["answer"])
    user = api.with_token(None)
    assert user.post(f"/v1/links/{token}", json={"action": "cancel"}).status_code == 403
    assert user.get(f"/v1/tasks/{task_id}", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert user.get(f"/l/{token}", params={"action": "cancel"}).status_code == 200
    assert api.store.get(task_id).state == "paused"
    answered = user.post(f"/v1/links/{token}", json={"action": "answer", "text": "blue"})
    assert (answered.status_code, answered.json()["state"]) == (200, "queued")


def test_a_link_ends_and_cannot_be_forged(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """Expired, changed or another installation's: 404 that says nothing."""
    task_id = paused(http, worker)
    token = link(http, task_id, actions=["cancel"])
    old = Link(task_id=task_id, tenant="default", actions=("cancel",), most={}, until=1, by="")
    expired = sign(api.server.app.state.service.vault, old)
    user = api.with_token(None)
    for bad in (expired, token[:-1] + ("A" if token[-1] != "A" else "B"), token.replace(".", "x."), "x", "é"):
        answer = user.post(f"/v1/links/{bad}", json={"action": "cancel"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert http.post(f"/v1/tasks/{task_id}/links", json={"actions": ["cancel"], "expires_s": 10**9}).status_code == 422


@pytest.mark.parametrize("kind", [ApprovalKind.BUDGET, ApprovalKind.QUESTION])
def test_the_page_of_a_link(api: Any, http: httpx2.Client, worker: PlayedWorker, kind: str) -> None:
    """Plain HTML with a form per action; what the agent wrote is text, not markup."""
    task_id = paused(http, worker, kind)
    action = "approve" if kind == ApprovalKind.BUDGET else "answer"
    token = link(http, task_id, actions=[action, "cancel"], most={"max_llm_calls": 5})
    user = api.with_token(None)
    page = user.get(f"/l/{token}").text
    assert "look &lt;b&gt;" in page
    assert page.count("<form") == 2
    done = user.post(f"/l/{token}", data={"action": action, "text": "blue"})
    assert (done.status_code, done.headers["location"]) == (303, f"/l/{token}")
    assert api.store.get(task_id).state == "queued"
    assert user.post(f"/l/{token}", data={"action": action}, headers={"Origin": "https://evil.example"}).status_code == 403
