"""No tenant sees another's: tested on every route there is, with the ids of somebody else's things."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from played import PlayedWorker
from tether.task import ApprovalKind

OPEN = {"/healthz", "/readyz", "/v1/links/{token}"}


@pytest.fixture(scope="module")
def theirs(api: Any, worker: PlayedWorker) -> dict[str, str]:
    """One of everything, of tenant `theirs`: path parameter -> id."""
    http = api.client("theirs")
    task = http.post("/v1/tasks", json={"goal": "their secret goal"}).json()
    claim = worker.claim()
    worker.step(claim, 1, "their thought")
    worker.pause(claim, ApprovalKind.QUESTION, "their question?")
    endpoint = api.store.add_endpoint(_endpoint(), most=5)
    return {
        "task_id": task["id"],
        "approval_id": api.store.approvals(task_id=task["id"]).data[0].id,
        "number": "1",
        "name": "result.txt",
        "hold_id": http.post("/v1/holds", json={"stop": "claims", "tenant": "theirs", "agent": "other"}).json()["id"],
        "file_id": http.post("/v1/files", content=b"their bytes").json()["id"],
        "key_id": api.key("theirs", ("read",))[0].id,
        "webhook_id": endpoint.id,
        "delivery_id": api.store.test_delivery(endpoint.id).id,
    }


def _endpoint() -> Any:
    from tether.store.access_rows import NewEndpoint

    return NewEndpoint(tenant="theirs", url="https://example.com/hook", secret=b"sealed")


def operations(api: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, description) of every operation of the document."""
    paths = api.server.app.openapi()["paths"]
    return [(method.upper(), path, how) for path, methods in paths.items() for method, how in methods.items()]


def body_of(path: str) -> dict[str, Any]:
    """A body each route takes."""
    bodies = {
        "/v1/tasks": {"goal": "x"},
        "/v1/tasks/{task_id}": {"note": "x"},
        "/v1/tasks/{task_id}/links": {"actions": ["cancel"]},
        "/v1/approvals/{approval_id}/decision": {"decision": "reject"},
        "/v1/keys": {"name": "k", "scopes": ["read"]},
        "/v1/webhooks": {"url": "https://example.com/"},
        "/v1/holds": {"stop": "claims", "tenant": "mine"},
    }
    return bodies.get(path, {})


def test_every_route_with_anothers_id_is_404(api: Any, theirs: dict[str, str]) -> None:
    """Whatever the method: what belongs to another tenant does not exist, and nothing of it changes."""
    mine = api.client("mine")
    before = api.store.get(theirs["task_id"]).document()
    tried = 0
    for method, path, how in operations(api):
        named = re.findall(r"\{(\w+)\}", path)
        if not named or path in OPEN:
            continue
        content = {"json": body_of(path)} if "requestBody" in how else {}
        answer = mine.request(method, path.format(**theirs), **content)
        assert answer.status_code == 404, (method, path, answer.text)
        assert "their" not in answer.text.replace(theirs["task_id"], "")
        tried += 1
    assert tried >= 25
    assert api.store.get(theirs["task_id"]).document() == before


def test_every_list_shows_only_ones_own(api: Any, theirs: dict[str, str]) -> None:
    """Lists, sums, exports and figures hold nothing of another tenant; asking for it by name is 404."""
    mine = api.client("third")
    for method, path, _ in operations(api):
        if method != "GET" or "{" in path or path in (*OPEN, "/v1/workers"):
            continue
        answer = mine.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert not [name for name in theirs.values() if len(name) > 10 and name in answer.text], path
        assert "their" not in answer.text, path
    assert mine.get("/v1/tasks", params={"tenant": "theirs"}).status_code == 404


def test_every_route_needs_a_key(api: Any, theirs: dict[str, str]) -> None:
    """Without a key, with a wrong one, a revoked one or an expired one: 401, said the same way."""
    revoked, token = api.key("default", ("admin",))
    api.store.revoke_key(revoked.id)
    expired = api.key("default", ("admin",), expires_at_ms=1)[1]
    clients = [api.with_token(None), api.with_token("tth_wrong"), api.with_token(token), api.with_token(expired)]
    for method, path, _ in operations(api):
        if path in OPEN:
            continue
        for client in clients:
            answer = client.request(method, path.format(**theirs), json=body_of(path))
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_does_only_what_its_scopes_say(api: Any, theirs: dict[str, str]) -> None:
    """A reader changes nothing, and one who may only submit reads nothing."""
    reader, sender = api.client("theirs", ("read",)), api.client("theirs", ("submit",))
    for method, path, how in operations(api):
        if path in OPEN:
            continue
        content = {"json": body_of(path)} if "requestBody" in how else {}
        who: httpx2.Client = sender if method == "GET" else reader
        answer = who.request(method, path.format(**theirs), **content)
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json()["code"] == "not_authorised"


def test_any_tenant_is_a_scope(api: Any, theirs: dict[str, str]) -> None:
    """tenants:any sees and submits for all."""
    http = api.client("mine", ("submit", "read", "tenants:any"))
    assert http.get(f"/v1/tasks/{theirs['task_id']}").status_code == 200
    made = http.post("/v1/tasks", json={"goal": "for them", "tenant": "theirs"})
    assert (made.status_code, made.json()["tenant"]) == (202, "theirs")
