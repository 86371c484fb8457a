"""Sites of real workers on each database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import make_database
from site_of_workers import Site, site

#: What the honest agents of agents/honest.py are called.
HONEST = {
    name: f"honest:{name}"
    for name in (
        "greet",
        "walk",
        "shell",
        "hang_after",
        "asks",
        "many_words",
        "returns",
        "raises",
        "vanishes",
        "uses_slow_tool",
    )
}
MORE = """\
[agents.tells]
kind = "command"
command = ["sh", "-c", "echo told: $TETHER_GOAL; cat; exit 0"]
[agents.fails]
kind = "command"
command = ["sh", "-c", "cd $TETHER_WORKSPACE; echo half > part.txt; echo '{\\"half\\": 1}' > result.json; exit 3"]
[agents.absent]
kind = "command"
command = ["there-is-no-such-program"]
[agents.unimportable]
entry = "no_such_module:agent"
[agents.threads]
entry = "with_threads:agent"
code_dir = "{code}"
[tools.nap]
entry = "honest:tool"
timeout_s = 0.5
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site with the honest agents and one worker, for all tests of a module; they leave the worker alone."""
    store = None
    if request.param == "postgres":
        store = make_database(request.getfixturevalue("postgres_url"), f"tether_{uuid.uuid4().hex}")
    more = MORE.replace("{code}", str(Path(__file__).parent / "agents"))
    with site(tmp_path_factory.mktemp("site"), store, agents=HONEST, more=more) as made:
        made.add_worker()
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def place_of_my_own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site with an agent that walks and one that greets, whose workers a test may start and kill."""
    store = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    with site(tmp_path, store, agents={name: HONEST[name] for name in ("walk", "greet")}) as made:
        yield made
