"""A scripted provider and a gateway in front of it, shared by a file's tests; each test has a task of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig import Rig, running
from tether.testing import Request, ScriptedModels, Usage, fault, reply


def script(request: Request):
    """Replies by a word in the goal."""
    faults = {
        "BUSY2": fault("status", status=429, retry_after_s=3600, times=2),
        "BUSY": fault("status", status=503),
        "WRONG": fault("status", status=400),
        "SILENT": fault("no_usage"),
        "GARBAGE": fault("garbage"),
        "CUT": fault("cut", after=2),
        "RESET": fault("reset", times=1),
        "DRIP": fault("drip", seconds=0.05),
        "GATE": fault("gate", gate="g"),
        "HANG": fault("hang"),
    }
    met = next((f for word, f in faults.items() if word in request.asked), None)
    words = "one two three four five six seven eight nine ten " * 3
    return reply(words, usage=Usage(input_tokens=100, output_tokens=30, cached_tokens=40), fault=met)


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedModels]:
    """The provider; its ledger is the truth about what was spent."""
    with ScriptedModels(script, api_key="sk-provider-key") as server:
        yield server


@pytest.fixture(scope="module")
def rig(models: ScriptedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of the provider."""
    with running(tmp_path_factory.mktemp("gateway"), models.base_url) as made:
        yield made
