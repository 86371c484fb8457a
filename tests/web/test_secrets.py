"""Secrets of tasks: write-only, sealed in the store, gone when the task ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import httpx2
import pytest

from played import PlayedWorker
from tether import Client, Task
from tether.errors import ConfigurationError, Conflict, ValidationError
from tether.secrets import KEY_FILE, Vault, mask

VALUE = "correct horse battery staple"


def test_a_secret_is_sealed_shown_nowhere_and_erased(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """No answer, event or file of the store has its value; the worker gets it until the task ends, a retry says why not."""
    answer = http.post("/v1/tasks", json={"goal": "x", "secrets": {"SHOP_KEY": VALUE}})
    task_id = answer.json()["id"]
    claim = worker.claim()
    sealed = api.store.sealed_secrets(task_id)
    assert Vault.of(api.server.app.state.service.settings).unseal(sealed) == {"SHOP_KEY": VALUE}
    seen = [answer.text, http.get(f"/v1/tasks/{task_id}").text, http.get(f"/v1/tasks/{task_id}/events").text]
    assert not [text for text in seen if VALUE in text or "SHOP_KEY" in text]
    assert VALUE.encode() not in b"".join(path.read_bytes() for path in api.folder.glob("tether.db*"))
    assert VALUE not in repr(claim)
    worker.fail(claim)
    assert api.store.sealed_secrets(task_id) is None
    refused = http.post(f"/v1/tasks/{task_id}/retry")
    assert (refused.status_code, "secrets" in refused.json()["detail"]) == (409, True)


def test_the_client_seals_without_a_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Straight on a store the same happens, with the key file of the data folder."""
    monkeypatch.setenv("TETHER_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("TETHER_API_URL", raising=False)
    with Client(f"sqlite:///{tmp_path}/x.db") as client:
        handle = client.submit(Task(goal="x", secrets={"A": VALUE}))
        client.submit(Task(goal="x"))
    assert stat.S_IMODE(os.stat(tmp_path / KEY_FILE).st_mode) == 0o600
    from tether.store import open_store

    store = open_store(f"sqlite:///{tmp_path}/x.db")
    assert Vault((tmp_path / KEY_FILE).read_bytes()).unseal(store.sealed_secrets(handle.id) or b"") == {"A": VALUE}
    store.cancel(handle.id)
    with pytest.raises(Conflict, match="secrets"):
        store.retry(handle.id)
    store.close()


@pytest.mark.parametrize("secrets", [{"PATH": VALUE}, {"1A": VALUE}, {"A": "short"}, {"A": 5}, {"TETHER_X": VALUE}, "text"])
def test_bad_secrets_are_refused_without_showing_them(secrets: Any) -> None:
    """The name is told, the value never; reserved variables stay ours."""
    with pytest.raises(ValidationError) as error:
        Task(goal="x", secrets=secrets)
    assert VALUE not in str(error.value)
    assert VALUE not in repr(Task(goal="x", secrets={"A": VALUE}))


def test_masking_reaches_everything() -> None:
    """By value, in texts and keys, longest first."""
    value = {"a": [f"x {VALUE} y", VALUE[:7]], VALUE: 1}
    assert mask(value, {"A": VALUE, "B": VALUE[:7]}) == {"a": ["x [redacted] y", "[redacted]"], "[redacted]": 1}
    assert mask("x", {}) == "x"


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    """A vault with another key refuses with the remedy, and a bad key file is named."""
    from cryptography.fernet import Fernet

    one, other = Vault(Fernet.generate_key()), Vault(Fernet.generate_key())
    with pytest.raises(ConfigurationError, match="another key"):
        other.unseal(one.seal({"A": 1}))
    assert not other.verify("link", b"x", one.sign("link", b"x"))
    assert not one.verify("login", b"x", one.sign("link", b"x"))
    with pytest.raises(ConfigurationError, match="base64"):
        Vault(b"short")
    assert tmp_path
