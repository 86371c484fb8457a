"""Erasing and pruning: what a task said is gone from the store, this host, other hosts and the [files] store; figures stay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api_server import until
from played import PlayedWorker
from tether.files import open_files
from tether.files.workspaces import Saved
from tether.store.ids import new_id
from tether.store.rows import NewArtifact
from tether.task import ApprovalKind
from tether.web.retention import prune
from tether.worker.sweeping import sweep

SECRET = "the whale is white"


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with a [files] store."""
    return make_api(files={"url": f"file://{tmp_path_factory.mktemp('kept')}"})


def settings_of(api: Any) -> Any:
    """Its configuration."""
    return api.server.app.state.service.settings


def ended(api: Any, http: httpx2.Client, worker: PlayedWorker) -> str:
    """A task that ended, whose secret is everywhere it may be: its workspace is here and, as of a checkpoint, in [files]."""
    http.post("/v1/tasks", json={"goal": SECRET, "priority": 1000, "tags": ["white"], "user": "ishmael", "input": [SECRET]})
    claim = worker.claim()
    workspace = settings_of(api).workspaces / claim.task_id
    workspace.mkdir(parents=True)
    workspace.with_name(f"{claim.task_id}.attempt").write_text("1")
    (workspace / "log.txt").write_text(SECRET)
    files = open_files(settings_of(api).files)
    assert files is not None
    files.save(claim.task_id, 1, workspace, Saved())
    sha256 = hashlib.sha256(SECRET.encode()).hexdigest()
    url = files.keep_file(claim.task_id, workspace / "log.txt", sha256)
    worker.step(claim, 1, SECRET, partial=SECRET)
    worker.write(claim, artifacts=(NewArtifact(name="log.txt", size_bytes=len(SECRET), sha256=sha256, url=url),))
    worker.pause(claim, ApprovalKind.QUESTION, SECRET)
    asked = http.get("/v1/approvals", params={"task_id": claim.task_id}).json()["data"][0]
    http.post(f"/v1/approvals/{asked['id']}/decision", json={"decision": "answer", "text": SECRET, "comment": SECRET})
    worker.succeed(worker.claim(), {"seen": SECRET})
    return claim.task_id


def kept(api: Any, task_id: str) -> list[Path]:
    """What the [files] store has of a task."""
    folder = Path(settings_of(api).files.url.removeprefix("file://")) / "tasks" / task_id
    return [path for path in folder.rglob("*") if path.is_file()]


def test_erasing_leaves_figures_and_nothing_else(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """Only of a final task; then no route, file or audit line says it, and usage still counts."""
    other = ended(api, http, worker)
    task_id = ended(api, http, worker)
    queued = http.post("/v1/tasks", json={"goal": "x"}).json()["id"]
    assert http.delete(f"/v1/tasks/{queued}").status_code == 409
    before = http.get(f"/v1/tasks/{task_id}").json()
    assert SECRET in http.get(f"/v1/tasks/{task_id}/artifacts/log.txt").text
    assert kept(api, task_id)
    assert http.delete(f"/v1/tasks/{task_id}").status_code == 204
    task = http.get(f"/v1/tasks/{task_id}").json()
    assert (task["usage"], task["state"], task["usage"]["llm_calls"]) == (before["usage"], "succeeded", 1)
    assert (task["goal"], task["user"], task["result"], task["artifacts"]) == ("", None, None, [])
    paths = ("", "/events", "/result", "/artifacts", "/attempts/1/state")
    said = [http.get(f"/v1/tasks/{task_id}{path}").text for path in paths]
    said += [http.get("/v1/approvals", params={"task_id": task_id, "state": "any"}).text]
    said += [http.get("/v1/audit", params={"about": task_id}).text]
    assert not [text for text in said if SECRET in text or "ishmael" in text]
    assert http.get(f"/v1/tasks/{task_id}/artifacts/log.txt").status_code == 404
    assert not (settings_of(api).workspaces / task_id).exists()
    assert not (settings_of(api).workspaces / f"{task_id}.attempt").exists()
    assert kept(api, task_id) == []
    assert http.get(f"/v1/tasks/{other}").json()["goal"] == SECRET
    assert kept(api, other)


def test_workers_of_other_hosts_delete_what_was_erased_or_pruned(
    api: Any, http: httpx2.Client, worker: PlayedWorker, tmp_path: Path
) -> None:
    """Their workspaces of an erased task go with the next look, those of unknown tasks when old, all others stay."""
    erased, there = ended(api, http, worker), ended(api, http, worker)
    http.delete(f"/v1/tasks/{erased}")
    elsewhere = settings_of(api).model_copy(update={"data_dir": str(tmp_path)})
    day_ms = 86_400_000
    long_ago_ms = api.store.now_ms() - (elsewhere.journal.retain_days + 1) * day_ms
    unknown, old = new_id("task", api.store.now_ms()), new_id("task", long_ago_ms)
    for name in (erased, there, unknown, old):
        (elsewhere.workspaces / name).mkdir(parents=True)
        (elsewhere.workspaces / name / "log.txt").write_text(SECRET)
    assert sorted(sweep(elsewhere, api.store)) == sorted([erased, old])
    assert sorted(path.name for path in elsewhere.workspaces.iterdir()) == sorted([there, unknown])


def test_pruning_deletes_files_and_uploads_of_that_time(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """What ended before goes with its files; an upload that was sent again meanwhile stays."""
    task_id = ended(api, http, worker)
    settings = settings_of(api)
    names = [http.post("/v1/files", content=content).json()["id"] for content in (b"one", b"two")]
    settled_ms = api.store.now_ms()
    until(lambda: api.store.now_ms() > settled_ms + 1000, "the database's clock stands")
    assert http.post("/v1/files", content=b"two").json()["id"] == names[1]
    gone = prune(settings, api.store, open_files(settings.files), 0.9)
    assert (gone.tasks >= 1, gone.files) == (True, 1)
    assert http.get(f"/v1/tasks/{task_id}").status_code == 404
    assert not (settings.workspaces / task_id).exists()
    assert kept(api, task_id) == []
    assert [http.get(f"/v1/files/{name}").status_code for name in names] == [404, 200]
    assert sorted(path.name for path in (settings.home / "uploads").iterdir()) == [names[1]]
