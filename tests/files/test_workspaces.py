"""Workspaces saved and restored, in a folder and in a real S3 server; what a hostile workspace tries comes to nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from brokers import Broker, Moto
from tether.config import FilesSettings
from tether.errors import ConfigurationError, NotFound, StoreUnavailable
from tether.files import TooLarge, Workspaces, open_files
from tether.files.workspaces import Saved


@pytest.fixture(params=["file", "s3"])
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, broker_of: Callable[[str], Broker], monkeypatch: pytest.MonkeyPatch
) -> Workspaces:
    """Files of each kind, for workspaces of at most 16 MB and 50 files."""
    given: dict[str, object] = {"url": f"file://{tmp_path}/kept", "max_mb": 16, "max_files": 50}
    if request.param == "s3":
        moto = broker_of("sqs")
        assert isinstance(moto, Moto)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        url = moto.bucket(f"b{os.urandom(4).hex()}")
        given |= {"url": f"{url}/some/prefix", "endpoint": moto.endpoint, "region": "us-east-1"}
    opened = open_files(FilesSettings.model_validate(given))
    assert opened is not None
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with a few files."""
    made = tmp_path / "workspace"
    (made / "sub").mkdir(parents=True)
    (made / "report.md").write_text("first")
    (made / "sub" / "tool.sh").write_text("#!/bin/sh\n")
    (made / "sub" / "tool.sh").chmod(0o755)
    (made / "link").symlink_to("report.md")
    return made


def contents(folder: Path) -> dict[str, str]:
    """Every file and link of a folder with its content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


def test_each_checkpoint_gives_its_workspace_back(kept: Workspaces, folder: Path, tmp_path: Path) -> None:
    """Restored elsewhere is what was there at that checkpoint: changed, added, removed files, links, modes."""
    saved, first = Saved(), contents(folder)
    kept.save("task_1", 1, folder, saved)
    (folder / "report.md").write_text("second, longer")
    (folder / "sub" / "tool.sh").unlink()
    (folder / "new.txt").write_text("new")
    kept.save("task_1", 3, folder, saved)
    other = tmp_path / "other"
    assert kept.restore("task_1", 2, other)
    assert contents(other) == first
    assert (other / "sub" / "tool.sh").stat().st_mode & 0o111
    assert kept.restore("task_1", 3, other)
    assert contents(other) == contents(folder)
    assert not kept.restore("task_2", 3, tmp_path / "none")


def test_only_what_changed_is_sent(kept: Workspaces, folder: Path) -> None:
    """An unchanged file is stored once, whatever number of checkpoints and attempts it goes through."""
    for attempt in range(2):
        saved = Saved()
        for number in range(3):
            kept.save("task_1", attempt * 3 + number, folder, saved)
    names = kept.objects.names("tasks/task_1/")
    assert len([name for name in names if "/content/" in name]) == 2
    assert len([name for name in names if "/workspace/" in name]) == 6
    kept.forget("task_1")
    assert kept.objects.names("tasks/task_1/") == []


def test_a_workspace_over_the_bounds_is_refused_whole(kept: Workspaces, folder: Path) -> None:
    """Too many bytes or files are an error that names the key; nothing half is kept."""
    with (folder / "big").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(TooLarge, match=r"files\.max_mb"):
        kept.save("task_1", 1, folder, Saved())
    (folder / "big").unlink()
    for number in range(50):
        (folder / f"{number}").touch()
    with pytest.raises(TooLarge, match=r"files\.max_files"):
        kept.save("task_1", 1, folder, Saved())
    assert not kept.restore("task_1", 1, folder.with_name("none"))


def test_links_pipes_and_lies_lead_nowhere(kept: Workspaces, folder: Path, tmp_path: Path) -> None:
    """Links are kept as links and not followed, pipes are left out, a listing that leads out of the workspace is refused."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hidden")
    (folder / "folder").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    kept.save("task_1", 1, folder, Saved())
    other = tmp_path / "other"
    assert kept.restore("task_1", 1, other)
    assert os.readlink(other / "folder") == str(secret)
    assert not (other / "pipe").exists()
    digest = hashlib.sha256(b"hidden").hexdigest()
    assert not kept.objects.has(f"tasks/task_1/content/{digest}")
    kept.objects.put(f"tasks/task_2/content/{digest}", b"hidden")
    for name in ("../out", "folder/key"):
        listing = {"folder": {"link": str(secret)}, name: {"sha256": digest, "mode": 0o600}}
        kept.objects.put_document("tasks/task_2/workspace/00000001.json", {"files": listing})
        with pytest.raises(NotFound):
            kept.restore("task_2", 1, tmp_path / "lied")


def test_an_artifact_is_kept_by_its_hash(kept: Workspaces, folder: Path, tmp_path: Path) -> None:
    """Its URL names the content; one that changed since it was listed is not kept under the old hash."""
    digest = hashlib.sha256(b"first").hexdigest()
    assert kept.keep_file("task_1", folder / "report.md", digest).endswith(digest)
    kept.fetch("task_1", digest, tmp_path / "back")
    assert (tmp_path / "back").read_text() == "first"
    with pytest.raises(NotFound):
        kept.keep_file("task_1", folder / "report.md", "0" * 64)


def test_files_that_cannot_be_are_refused_by_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown scheme is a configuration error; a store that is away is StoreUnavailable within a bound."""
    with pytest.raises(ConfigurationError, match=r"files\.url"):
        open_files(FilesSettings.model_validate({"url": "ftp://here"}))
    assert open_files(FilesSettings.model_validate({})) is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    away = open_files(FilesSettings.model_validate({"url": "s3://b", "endpoint": "http://127.0.0.1:9", "region": "r"}))
    assert away is not None
    with pytest.raises(StoreUnavailable):
        away.forget("task_1")
