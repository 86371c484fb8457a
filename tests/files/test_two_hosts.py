"""A task goes on at another host with its files: two data folders, one store, one S3 bucket."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import Broker, Moto
from site_of_workers import Site, site, until
from tether.files import open_files

_TOML = """\
[files]
url = "{url}"
endpoint = "{endpoint}"
region = "us-east-1"
[agents.traveller]
entry = "traveller:traveller"
code_dir = "{code}"
"""


@pytest.fixture
def hosts(
    tmp_path: Path, postgres_database: str, broker_of: Callable[[str], Broker], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, Site]]:
    """Two hosts that share nothing but the store and the bucket."""
    moto = broker_of("sqs")
    assert isinstance(moto, Moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    url = moto.bucket(f"b{os.urandom(4).hex()}")
    more = _TOML.format(url=url, endpoint=moto.endpoint, code=Path(__file__).parent / "agents")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o755)
    with (
        site(tmp_path / "one", postgres_database, agents={}, more=more) as one,
        site(tmp_path / "two", postgres_database, agents={}, more=more) as two,
    ):
        yield one, two


def test_a_paused_task_resumes_on_another_host_with_its_files(hosts: tuple[Site, Site], tmp_path: Path) -> None:
    """The first host is gone; the second has the workspace as the pause left it, and the artifacts are in the bucket."""
    one, two = hosts
    worker = one.add_worker()
    handle = one.submit("traveller")
    assert handle.wait(timeout=60).state == "paused"
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    two.add_worker()
    handle.answer("red")
    task = handle.wait(until="final", timeout=60)
    found = {"notes.txt": "before", "scratch.txt": "after the checkpoint"}
    assert (task.state, task.result) == ("succeeded", {"found": found, "colour": "red"}), two.log()
    until(lambda: handle.document().artifacts, what="artifacts")
    kept = {artifact["name"]: artifact for artifact in handle.document().artifacts}
    assert {"notes.txt", "result.txt"} <= set(kept)
    files = open_files(two.settings.files)
    assert files is not None
    files.fetch(task.id, kept["result.txt"]["sha256"], tmp_path / "result")
    assert (tmp_path / "result").read_text() == "red"


def test_files_that_are_away_end_nothing(tmp_path: Path, postgres_database: str) -> None:
    """While the bucket cannot be reached the task goes on, its journal says what was not kept, its files stay on this host."""
    more = _TOML.format(url="s3://nowhere", endpoint="http://127.0.0.1:9", code=Path(__file__).parent / "agents")
    with site(tmp_path, postgres_database, agents={}, more=more) as place:
        place.add_worker()
        handle = place.submit("traveller")
        assert handle.wait(timeout=90).state == "paused", place.log()
        said = [note["text"] for note in place.events(handle, "agent_log")]
        assert any("was not saved with checkpoint 1" in text for text in said), said
        handle.answer("blue")
        assert handle.wait(until="final", timeout=90).result["found"]["notes.txt"] == "before"
