"""`tether demo`: the five stories, for real."""

from __future__ import annotations

from terminal import Terminal


def test_the_demo_plays_and_every_promise_is_kept(terminal: Terminal) -> None:
    """Without key, configuration or network all five stories end as promised, and the journal can be looked at afterwards."""
    ended = terminal.cold("demo", TMPDIR=str(terminal.folder), TETHER_STORE__URL="sqlite:///must-not-be-used.db")
    assert ended.code == 0, ended.out + ended.err
    assert "5 of 5 stories ended as promised" in ended.out
    assert "✗" not in ended.out
    for title in ("succeeds", "hangs", "over its budget", "fails", "dies"):
        assert title in ended.out
    assert "Only the model is scripted" in ended.out
    assert not (terminal.folder / "must-not-be-used.db").exists()
    config = next(terminal.folder.glob("tether-demo-*/tether.toml"))
    listed = terminal.run("list", "--json", TETHER_CONFIG=str(config)).json["data"]
    assert [task["state"] for task in listed] == ["succeeded", "failed", "succeeded", "succeeded", "succeeded"]


def test_an_unknown_story_is_refused(terminal: Terminal) -> None:
    """There are five stories."""
    assert terminal.run("demo", "--story", "6").code == 2
