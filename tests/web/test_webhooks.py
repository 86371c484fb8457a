"""Webhooks: every change reaches a real receiver, signed, once taken; what fails comes again, and nothing turns inward."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from api_server import until
from played import PlayedWorker
from tether.task import ApprovalKind
from tether.web.deliveries import again_in_s


class Receiver:
    """A server that notes what it gets and answers what `answers` says, then 204."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Taking(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.place = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, path: str) -> list[dict[str, Any]]:
        """The bodies that came to a path."""
        return [json.loads(body) for at, _, body in self.got if at == path]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """One for the module."""
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Any], receiver: Receiver) -> Any:
    """A server that may call the receiver, although it is on a private address."""
    made = make_api(webhooks={"allow_private": [receiver.place]})
    until(lambda: made.store.route_webhooks(b"x") == 0, "the cursor is not set")
    return made


def test_every_change_is_told_signed(http: httpx2.Client, worker: PlayedWorker, receiver: Receiver) -> None:
    """A task's whole life arrives, each event once and with a signature that the library verifies."""
    made = http.post("/v1/webhooks", json={"url": f"http://{receiver.place}/all"}).json()
    task_id = http.post("/v1/tasks", json={"goal": "told"}).json()["id"]
    claim = worker.claim()
    worker.succeed(claim, {"a": 1})
    until(lambda: len(receiver.of("/all")) >= 3, "not told")
    told = sorted(receiver.of("/all"), key=lambda body: body["data"]["event"]["seq"])
    assert [body["type"] for body in told] == ["task_submitted", "attempt_started", "task_succeeded"]
    for path, headers, body in receiver.got:
        assert path == "/all"
        Webhook(made["secret"]).verify(body, headers)
    last = told[-1]["data"]
    assert (last["task"]["id"], last["task"]["result"], last["event"]["seq"]) == (task_id, {"a": 1}, 3)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 3

    def noted() -> bool:
        sent = http.get("/v1/webhooks/deliveries").json()["data"]
        return {delivery["state"] for delivery in sent} == {"delivered"}

    until(noted, "not noted as delivered")
    assert "secret" not in http.get(f"/v1/webhooks/{made['id']}").json()
    http.delete(f"/v1/webhooks/{made['id']}")


def test_a_tasks_own_url_is_told_with_the_tenants_secret(http: httpx2.Client, worker: PlayedWorker, receiver: Receiver) -> None:
    """webhook_url needs no endpoint; its signatures verify with the secret of GET /v1/webhooks/secret."""
    http.post("/v1/tasks", json={"goal": "x", "webhook_url": f"http://{receiver.place}/own"})
    worker.fail(worker.claim())
    until(lambda: len(receiver.of("/own")) >= 3, "not told")
    secret = http.get("/v1/webhooks/secret").json()["secret"]
    for path, headers, body in receiver.got:
        if path == "/own":
            Webhook(secret).verify(body, headers)


def test_what_fails_comes_again_with_the_same_id(api: Any, http: httpx2.Client, receiver: Receiver) -> None:
    """A 500 and a redirect are failures; the next try is later; replay sends once more."""
    made = http.post("/v1/webhooks", json={"url": f"http://{receiver.place}/again"}).json()
    receiver.answers[:] = [500]
    test = http.post(f"/v1/webhooks/{made['id']}/test").json()
    until(lambda: api.store.delivery(test["id"]).error is not None, "not tried")
    failed = api.store.delivery(test["id"])
    assert (failed.state, failed.status, failed.tries) == ("pending", 500, 1)
    assert failed.next_at_ms > failed.created_at_ms
    api.store.not_delivered(test["id"], 500, "again at once", 0)
    until(lambda: api.store.delivery(test["id"]).state == "delivered", "not delivered")
    receiver.answers[:] = [302]
    assert http.post(f"/v1/webhooks/deliveries/{test['id']}/replay").status_code == 202
    until(lambda: api.store.delivery(test["id"]).status == 302, "not tried")
    assert receiver.of("/elsewhere") == []
    ids = {headers["webhook-id"] for path, headers, _ in receiver.got if path == "/again"}
    assert ids == {test["id"]}
    assert http.post(f"/v1/webhooks/deliveries/{test['id']}/replay").status_code == 409
    http.delete(f"/v1/webhooks/{made['id']}")
    assert api.store.delivery(test["id"]).state == "dead"


def test_gone_is_gone(api: Any, http: httpx2.Client, receiver: Receiver) -> None:
    """410 disables the endpoint and is not tried again."""
    made = http.post("/v1/webhooks", json={"url": f"http://{receiver.place}/gone"}).json()
    receiver.answers[:] = [410]
    test = http.post(f"/v1/webhooks/{made['id']}/test").json()
    until(lambda: api.store.delivery(test["id"]).state == "dead", "still tried")
    assert http.get(f"/v1/webhooks/{made['id']}").json()["state"] == "disabled"
    assert http.post(f"/v1/webhooks/{made['id']}/test").status_code == 409


def test_a_chat_channel_is_told_what_waits_for_a_human(http: httpx2.Client, worker: PlayedWorker, receiver: Receiver) -> None:
    """Approvals and escalations alone, as a message without live markup."""
    made = http.post("/v1/webhooks", json={"url": f"http://{receiver.place}/chat", "format": "slack"}).json()
    http.post("/v1/tasks", json={"goal": "look <!channel>", "priority": 1000})
    worker.pause(worker.claim(), ApprovalKind.QUESTION, "which one?")
    until(lambda: receiver.of("/chat"), "not told")
    told = receiver.of("/chat")
    assert len(told) == 1
    assert "which one?" in told[0]["text"]
    assert "<!channel>" not in json.dumps(told)
    http.delete(f"/v1/webhooks/{made['id']}")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "ftp://example.com/x",
        "http://user:pass@example.com/x",
        "http://no-such-host.invalid/x",
    ],
)
def test_no_webhook_turns_inward(http: httpx2.Client, url: str) -> None:
    """Private, link-local and encoded addresses are refused, with what to do where it is meant."""
    answer = http.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text


def test_a_task_url_that_leads_inward_is_never_called(api: Any, http: httpx2.Client) -> None:
    """It is checked when it is called, whatever its name meant before."""
    task_id = http.post("/v1/tasks", json={"goal": "x", "webhook_url": "http://127.0.0.1:1/x"}).json()["id"]

    def tried() -> Any:
        return next((d for d in api.store.deliveries().data if d.task_id == task_id and d.error), None)

    until(tried, "not tried")
    assert "not on the public Internet" in tried().error


def test_waits_grow_and_end_after_a_day() -> None:
    """The waits at least double up to an hour and a half, spread by luck, and the last try is within the day."""
    day_s, at_s, tries, waits = 86_400.0, 0.0, 0, []
    while (wait_s := again_in_s(tries := tries + 1, at_s, day_s, 0.5)) is not None:
        waits.append(wait_s)
        at_s += wait_s
    assert waits[:6] == [5, 20, 80, 320, 1280, 3600]
    assert 20 <= len(waits) <= 40
    assert day_s - 3600 <= at_s <= day_s
    assert again_in_s(3, 0, day_s, 0.0) == 40 != again_in_s(3, 0, day_s, 1.0) == 120


def test_a_target_that_hangs_holds_up_no_other(api: Any, http: httpx2.Client, receiver: Receiver) -> None:
    """A hundred deliveries to one that never answers are under way or wait; one to another target arrives at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        api.server.app.state.service.settings.webhooks.allow_private.append(f"127.0.0.1:{port}")
        hangs = http.post("/v1/webhooks", json={"url": f"http://127.0.0.1:{port}/x"}).json()
        for _ in range(100):
            api.store.test_delivery(hangs["id"])
        silent.settimeout(20)
        connection, _ = silent.accept()
        quick = http.post("/v1/webhooks", json={"url": f"http://{receiver.place}/quick"}).json()
        began = time.monotonic()
        api.store.test_delivery(quick["id"])
        until(lambda: receiver.of("/quick"), "the other target waits")
        assert time.monotonic() - began < api.server.app.state.service.settings.webhooks.timeout_s
        connection.close()
        for made in (hangs, quick):
            http.delete(f"/v1/webhooks/{made['id']}")
