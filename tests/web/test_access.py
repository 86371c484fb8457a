"""Keys, rates, logins, headers: who gets in, how far, and what a browser is told."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api_server import serving, settings_for
from tether.errors import ConfigurationError
from tether.store import open_store
from tether.web import doorkey
from tether.web.rates import Rates
from tether.web.server import serve


def test_a_key_is_shown_once_and_never_stored(api: Any, http: httpx2.Client) -> None:
    """The token is in the answer and in no row; lists show its beginning."""
    made = http.post("/v1/keys", json={"name": "shop", "scopes": ["read", "submit"]})
    assert made.status_code == 201
    token = made.json()["key"]
    shown = http.get(f"/v1/keys/{made.json()['id']}").json()
    assert token.startswith(shown["prefix"])
    assert (shown["scopes"], shown["expires_at"]) == (["submit", "read"], None)
    assert token not in http.get("/v1/keys").text
    api.store.now_ms()
    assert token.encode() not in b"".join(path.read_bytes() for path in api.folder.glob("tether.db*"))
    assert api.with_token(token).get("/v1/tasks").status_code == 200


def test_keys_rotate_expire_and_are_revoked(api: Any, http: httpx2.Client) -> None:
    """The new key works at once, the old one as long as it is said; a revoked one not a second longer."""
    old = http.post("/v1/keys", json={"name": "k", "scopes": ["read"], "expires_s": 86400}).json()
    new = http.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 3600}).json()
    assert [api.with_token(key["key"]).get("/v1/tasks").status_code for key in (old, new)] == [200, 200]
    assert api.store.key(old["id"]).expires_at_ms < time.time() * 1000 + 3_700_000
    assert http.delete(f"/v1/keys/{new['id']}").status_code == 204
    assert api.with_token(new["key"]).get("/v1/tasks").status_code == 401
    assert http.post(f"/v1/keys/{new['id']}/rotate").status_code == 409
    api.store.revoke_key(old["id"])
    time_limit = time.monotonic() + 10
    while api.with_token(old["key"]).get("/v1/tasks").status_code != 401:
        assert time.monotonic() < time_limit


def test_nobody_gives_more_than_they_have(api: Any) -> None:
    """A key cannot make one with a scope or a tenant that it lacks, nor rotate one that has more."""
    admin = api.client("default", ("admin",))
    more = admin.post("/v1/keys", json={"name": "k", "scopes": ["tenants:any"]})
    other = admin.post("/v1/keys", json={"name": "k", "scopes": ["read"], "tenant": "other"})
    strong = api.key("default", ("admin", "tenants:any"))[0]
    rotated = admin.post(f"/v1/keys/{strong.id}/rotate")
    assert [answer.status_code for answer in (more, other, rotated)] == [403, 403, 403]


def test_last_use_is_remembered(api: Any) -> None:
    """Within a while of its use a key's row has it."""
    row, token = api.key("default", ("read",))
    api.with_token(token).get("/v1/tasks")
    service = api.server.app.state.service
    api.store.touch_keys(service.access.take_used())
    assert api.store.key(row.id).last_used_at_ms is not None


def test_a_key_over_its_rate_is_told_when_to_come_back(api: Any) -> None:
    """429 with Retry-After, for this key alone."""
    token = api.key("default", ("read",), rate_per_s=2)[1]
    client = api.with_token(token)
    answers = [client.get("/v1/tasks") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].json()["code"] == "rate_limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert api.client().get("/v1/tasks").status_code == 200


def test_rates_are_a_bucket() -> None:
    """Twice the rate at once, then evenly; every key has its own."""
    now = [0.0]
    rates = Rates(10, lambda: now[0])
    assert [rates.take("a") for _ in range(20)] == [0.0] * 20
    assert rates.take("a") == pytest.approx(0.1)
    assert rates.take("b") == 0
    now[0] = 0.1
    assert rates.take("a") == 0


def test_beyond_this_machine_only_with_keys(tmp_path: Path) -> None:
    """0.0.0.0 without a key somebody made is refused with the command that makes one."""
    settings = settings_for(f"sqlite:///{tmp_path}/tether.db", api={"host": "0.0.0.0", "port": 0})
    settings = settings.model_copy(update={"data_dir": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="tether keys create"):
        serve(settings)
    store = open_store(settings.store_url)
    doorkey.ensure(settings, store)
    store.close()
    with pytest.raises(ConfigurationError, match="beyond this machine"):
        serve(settings)


def test_the_local_key_lies_where_only_its_owner_reads(tmp_path: Path) -> None:
    """The file is 0600, and a second start keeps the key."""
    url = f"sqlite:///{tmp_path}/tether.db"
    settings = settings_for(url).model_copy(update={"data_dir": str(tmp_path)})
    store = open_store(url)
    key = doorkey.ensure(settings, store)
    path = doorkey.write(settings, "http://127.0.0.1:1", key)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert doorkey.ensure(settings, store) == key == json.loads(path.read_text())["key"]
    store.close()


def test_a_person_logs_in_with_a_key(api: Any) -> None:
    """The cookie is strict and unreadable to scripts, stands for the key, and dies with it."""
    row, token = api.key("default", ("read", "submit"))
    page = api.with_token(None)
    assert page.post("/login", data={"key": "tth_wrong"}).status_code == 401
    assert page.post("/login", data={"key": token}, headers={"Origin": "https://evil.example"}).status_code == 403
    answer = page.post("/login", data={"key": token})
    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert page.get("/v1/tasks").status_code == 200
    assert "Logged in" in page.get("/").text
    api.store.revoke_key(row.id)
    api.server.app.state.service.access.forget()
    assert page.get("/v1/tasks").status_code == 401


def test_a_login_changes_nothing_from_another_page(api: Any) -> None:
    """A change with the cookie needs the page's token and its origin."""
    from tether.web import logins

    row, _ = api.key("default", ("read", "submit"))
    vault = api.server.app.state.service.vault
    login, value = logins.make(vault, row.id, 1)
    page = api.with_token(None)
    page.cookies.set(logins.COOKIE, value)
    token = logins.csrf_token(vault, login)
    evil = {"X-CSRF-Token": token, "Origin": "https://evil.example"}
    tries = [page.post("/v1/tasks", json={"goal": "x"}, headers=headers) for headers in ({}, {"X-CSRF-Token": "wrong"}, evil)]
    assert [answer.status_code for answer in tries] == [401, 401, 401]
    good = page.post("/v1/tasks", json={"goal": "x"}, headers={"X-CSRF-Token": token, "Origin": api.server.url})
    assert good.status_code == 202
    page.cookies.set(logins.COOKIE, value[:-2] + "xx")
    assert page.get("/v1/tasks").status_code == 401


@pytest.mark.parametrize("path", ["/login", "/healthz", "/v1/tasks", "/v1/nothing", "/openapi.json", "/l/x"])
def test_every_answer_has_the_security_headers(http: httpx2.Client, path: str) -> None:
    """A strict policy without unsafe-*, no framing, no sniffing, no referrer; on errors too."""
    headers = http.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


def test_the_store_may_be_away(make_api: Callable[..., Any], tmp_path: Path) -> None:
    """503 as a problem that says nothing of the store, readiness too; and it works again when the store is back."""
    url = f"sqlite:///{tmp_path}/tether.db"
    with serving(url, tmp_path) as server, httpx2.Client(base_url=server.url, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {server.key}"
        assert http.get("/v1/tasks").status_code == 200
        file = tmp_path / "tether.db"
        server.app.state.service.store._database.dialect.engine.dispose()
        away = file.with_name("away.db")
        file.rename(away)
        file.mkdir()
        answer = http.get("/v1/tasks")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert str(tmp_path) not in answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert http.get("/readyz").status_code == 503
        assert http.get("/healthz").status_code == 200
        file.rmdir()
        away.rename(file)
        assert http.get("/v1/tasks").status_code == 200
    assert make_api
