"""Secrets of a task: in the environment of its attempts, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from site_of_workers import site
from tether.events import MASK
from tether.secrets import KEY_FILE

VALUE = "correct-horse-battery-staple"
COMMAND = """\
[agents.command]
kind = "command"
command = ["sh", "-c", "echo told $SHOP_KEY >&2; echo \\"len ${#SHOP_KEY} $SHOP_KEY\\""]
"""


@pytest.mark.parametrize("isolation", ["cooperative", "auto"])
def test_an_attempt_has_its_secrets_and_nothing_else_shows_them(tmp_path: Path, isolation: str) -> None:
    """A Python agent and a command read them; journal, result, partial, checkpoint, output and dump have a mask instead."""
    agents = {"tells": "secretive:tells"}
    with site(tmp_path, agents=agents, more=COMMAND, isolation=isolation) as place:
        place.add_worker()
        told = place.submit("tells", secrets={"SHOP_KEY": VALUE})
        hung = place.submit("tells", goal="hang", secrets={"SHOP_KEY": VALUE}, timeouts={"step_s": 2}, max_attempts=1)
        command = place.submit("command", secrets={"SHOP_KEY": VALUE})
        assert place.settled(told).result == {"length": len(VALUE), "said": MASK}
        assert place.settled(command).result == f"len {len(VALUE)} {MASK}"
        assert place.settled(hung).reason == "step_timeout"
        state = place.client.state(hung.id)
        assert state.checkpoint is not None
        assert state.dump is not None
        assert (state.checkpoint.state, MASK in state.dump["output_tail"]) == ({"key": MASK}, True)
        for handle in (told, hung, command):
            shown = [json.dumps(event.document()) for event in handle.events()]
            assert MASK in "".join(shown)
            assert VALUE not in "".join(shown) + json.dumps(handle.document().document())
    left = [path for path in tmp_path.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]
    assert [path for path in left if "workspaces" not in path.parts] == []


def test_a_worker_with_another_key_says_so(tmp_path: Path) -> None:
    """The task ends with the remedy, not with an attempt that lacks what it needs."""
    with site(tmp_path, agents={"tells": "secretive:tells"}) as place:
        handle = place.submit("tells", secrets={"SHOP_KEY": VALUE})
        (place.settings.home / KEY_FILE).unlink()
        place.add_worker()
        task = place.settled(handle)
        assert (task.state, task.reason, "another key" in task.message) == ("failed", "policy", True)
