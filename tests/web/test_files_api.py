"""Files up and down: bounded, private, never run by a browser, never from outside the workspace."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from played import PlayedWorker
from tether import Client, Task
from tether.errors import ValidationError
from tether.store.rows import NewArtifact
from tether.uploads import folder, source

BYTES = bytes(range(256)) * 1000


def test_an_uploaded_file_goes_with_a_task(api: Any, http: httpx2.Client) -> None:
    """Its bytes lie 0600 in the data folder; the task names it by id; the worker finds it; the same file again is the same."""
    first = http.post("/v1/files", params={"name": "data.bin"}, content=BYTES)
    again = http.post("/v1/files", params={"name": "data.bin"}, content=BYTES)
    upload = first.json()
    assert (first.status_code, upload["bytes"], upload["sha256"]) == (201, len(BYTES), hashlib.sha256(BYTES).hexdigest())
    assert again.json()["id"] == upload["id"]
    settings = api.server.app.state.service.settings
    path = folder(settings) / upload["id"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    task = http.post("/v1/tasks", json={"goal": "x", "files": {"in/data.bin": f"upload:{upload['id']}"}})
    assert task.status_code == 202
    assert Path(source(settings, f"upload:{upload['id']}")).read_bytes() == BYTES
    assert [found["id"] for found in http.get("/v1/files").json()["data"]] == [upload["id"]]
    assert http.delete(f"/v1/files/{upload['id']}").status_code == 204
    assert not path.exists()
    with pytest.raises(ValidationError):
        source(settings, f"upload:{upload['id']}")
    with pytest.raises(ValidationError):
        source(settings, "upload:../../etc/passwd")


def test_the_client_uploads_files_of_this_machine(api: Any, tmp_path: Path) -> None:
    """A local path in a task becomes an upload on the way."""
    (tmp_path / "a.txt").write_text("hello")
    with Client(api.server.url, api.server.key) as client:
        client.submit(Task(goal="x", files={"a.txt": str(tmp_path / "a.txt")}))
        with pytest.raises(ValidationError, match=r"files\.a"):
            client.submit(Task(goal="x", files={"a": str(tmp_path / "none")}))
    assert api.store.uploads().data[0].sha256 == hashlib.sha256(b"hello").hexdigest()


def test_uploads_are_bounded(make_api: Callable[..., Any]) -> None:
    """One file, and all of a tenant together; what was refused leaves nothing."""
    api = make_api(api={"max_upload_mb": 1, "uploads_mb": 1})
    http = api.client("default", ("submit", "read"))
    assert http.post("/v1/files", content=b"x" * 1_100_000).json()["code"] == "too_large"
    assert http.post("/v1/files", content=b"x" * 700_000).status_code == 201
    full = http.post("/v1/files", content=b"y" * 700_000)
    assert (full.status_code, full.json()["code"]) == (422, "invalid")
    assert len(list(folder(api.server.app.state.service.settings).iterdir())) == 1


def test_artifacts_are_downloads_from_the_workspace_only(api: Any, http: httpx2.Client, worker: PlayedWorker) -> None:
    """What the agent left is sent as an attachment; a link out of the workspace is not followed."""
    http.post("/v1/tasks", json={"goal": "x", "priority": 1000})
    claim = worker.claim()
    workspace = api.server.app.state.service.settings.workspaces / claim.task_id
    workspace.mkdir(parents=True)
    (workspace / "page.html").write_text("<script>alert(1)</script>")
    (api.folder / "outside.txt").write_text("private")
    (workspace / "link.txt").symlink_to(api.folder / "outside.txt")
    (workspace / "dir").symlink_to(api.folder)
    names = ("page.html", "link.txt", "dir/outside.txt", "gone.txt")
    kept = tuple(NewArtifact(name=name, size_bytes=1, sha256="0", url=f"file://{workspace}/{name}") for name in names)
    worker.write(claim, artifacts=kept)
    path = f"/v1/tasks/{claim.task_id}/artifacts"
    assert [found["name"] for found in http.get(path).json()["data"]] == sorted(names)
    page = http.get(f"{path}/page.html")
    assert page.text == "<script>alert(1)</script>"
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")
    assert [http.get(f"{path}/{name}").status_code for name in (*names[1:], "../outside.txt")] == [404] * 4
