"""What is sent wrongly is refused with a reason, costs little, and never is a fault of ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tether.web.bodies import MOST_DEPTH, strict_json
from tether.web.problems import Refused

JSON = {"Content-Type": "application/json"}
_DEEP = '{"goal":"x","input":' + "[" * 100 + "]" * 100 + "}"
_TOO_DEEP = '{"goal":"x","input":' + "[" * 100_000 + "]" * 100_000 + "}"
CASES = {
    "empty": (b"", 422),
    "no JSON": (b"{", 400),
    "a list": (b"[]", 422),
    "latin-1": ('{"goal":"é"}'.encode("latin-1"), 400),
    "utf-16": ('{"goal":"é"}'.encode("utf-16"), 400),
    "NUL": (b'{"goal":"a\\u0000b"}', 400),
    "NUL in a key": (b'{"goal":"x","metadata":{"a\\u0000":"b"}}', 400),
    "lone surrogate": (b'{"goal":"\\ud800"}', 400),
    "NaN": (b'{"goal":"x","input":NaN}', 400),
    "infinite": (b'{"goal":"x","input":1e999}', 400),
    "many digits": (b'{"goal":"x","input":' + b"9" * 10_000 + b"}", 400),
    "a huge limit": (b'{"goal":"x","budget":{"max_llm_calls":' + b"9" * 100 + b"}}", 422),
    "a huge priority": (b'{"goal":"x","priority":99999999999999999999}', 422),
    "deep": (_DEEP.encode(), 400),
    "too deep for any parser": (_TOO_DEEP.encode(), 400),
    "unknown field": (b'{"goal":"x","max_usd":5}', 422),
    "zero timeout": (b'{"goal":"x","timeouts":{"task_s":0}}', 422),
    "true as a number": (b'{"goal":"x","budget":{"max_llm_calls":true}}', 422),
    "only spaces": (b'{"goal":"   "}', 422),
    "a path of the server": (b'{"goal":"x","files":{"a":"/etc/passwd"}}', 422),
    "a file of nobody": (b'{"goal":"x","files":{"a":"upload:upload_00000000000000000000000000"}}', 404),
    "another tenant": (b'{"goal":"x","tenant":"other"}', 403),
    "a local webhook": (b'{"goal":"x","webhook_url":"ftp://host/x"}', 422),
    "a reserved secret": (b'{"goal":"x","secrets":{"LD_PRELOAD":"/tmp/evil.so"}}', 422),
}


@pytest.mark.parametrize(("body", "status"), CASES.values(), ids=CASES.keys())
def test_a_bad_body_is_refused_with_a_reason(http: httpx2.Client, body: bytes, status: int) -> None:
    """Each gets its 4xx as a problem with a stable code."""
    answer = http.post("/v1/tasks", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"]
    assert problem["detail"]


def test_other_types_are_refused(http: httpx2.Client) -> None:
    """A form is not JSON."""
    answer = http.post("/v1/tasks", data={"goal": "x"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_large_bodies_are_refused_before_they_are_read(make_api: Callable[..., Any]) -> None:
    """By their length, and when they hide it while they come."""
    http = make_api(api={"max_body_kb": 64}).client()
    told = http.post("/v1/tasks", content=b" " * 100_000, headers=JSON)
    hidden = http.post("/v1/tasks", content=(b" " * 10_000 for _ in range(20)), headers=JSON)
    assert [(a.status_code, a.json()["code"]) for a in (told, hidden)] == [(413, "too_large")] * 2


def test_a_slow_body_is_cut_off(make_api: Callable[..., Any]) -> None:
    """Who sends a byte now and then is answered 408 when the time is over."""
    api = make_api(api={"body_s": 0.3})
    token = api.key("default", ("submit",))[1]
    host, _, port = api.server.url.removeprefix("http://").rpartition(":")
    head = f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    head += "content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(head.encode() + b'{"goal"')
        assert b" 408 " in connection.recv(1000)


def test_addresses_are_checked_too(http: httpx2.Client) -> None:
    """NUL in a path or query, a cursor of another list, numbers out of range."""
    assert http.get("/v1/tasks?agent=%00").status_code == 400
    assert http.get("/v1/tasks/%00").status_code == 400
    assert http.get("/v1/tasks", params={"limit": 10**30}).status_code == 422
    assert http.get("/v1/tasks", params={"created_from": "2026-01-01T00:00:00"}).status_code == 422
    assert http.get("/v1/tasks", params={"state": "lost"}).status_code == 422
    assert http.get("/v1/tasks/nothing").json()["code"] == "not_found"
    assert http.get("/v1/nothing").json()["code"] == "not_found"
    assert http.put("/v1/tasks").json()["code"] == "method_not_allowed"


def test_as_deep_as_allowed_is_taken() -> None:
    """The bound is where it says."""
    assert strict_json(("[" * MOST_DEPTH + "]" * MOST_DEPTH).encode())
    with pytest.raises(Refused):
        strict_json(("[" * (MOST_DEPTH + 2) + "]" * (MOST_DEPTH + 2)).encode())
    text = json.dumps({"a": ["\U0001f600", "brackets [[[[ in a text"] * 40})
    assert strict_json(text.encode()) == json.loads(text)
