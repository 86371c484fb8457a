"""Importing Tether costs little, and what runs in the user's interpreter needs nothing but the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tether

SOURCE = Path(tether.__file__).parent.parent
HEAVY = (
    "pydantic",
    "pydantic_ai",
    "sqlalchemy",
    "psycopg",
    "aiohttp",
    "starlette",
    "uvicorn",
    "fastapi",
    "typer",
    "rich",
    "openai",
)
#: what a zygote, init, a tool's runner and an agent's adapter import in the interpreter of `[agents.x] python`
BARE = ("boot", "init", "sandbox", "syscalls", "tool_runner", "link", "async_link", "adapters")


def python(code: str, *options: str) -> str:
    """Standard output of a fresh interpreter; fails with its standard error."""
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> set[str]:
    """Names of the modules a fresh interpreter has after running `code`."""
    return set(python(f"{code}; import sys; print(*sys.modules)").split())


def test_import_tether_is_light() -> None:
    """`import tether` and making a task load no database, web, model or validation library."""
    assert not loaded_by("import tether; tether.AutoGPTTask(goal='x')") & set(HEAVY)


@pytest.mark.parametrize("module", ["worker.supervisor", "gateway.app", "client", "cli.app", "store"])
def test_no_agent_code_outside_of_attempts(module: str) -> None:
    """Supervisor, gateway, client, command line and store never load an agent's libraries, loop or tools."""
    agent_code = {"pydantic_ai", "openai", "anthropic", "trafilatura", "tether.agent.loop", "tether.agent.tools"}
    assert not loaded_by(f"import tether.{module}") & agent_code


def test_every_public_name_is_there() -> None:
    """What tether promises in __all__ can be imported."""
    for name in tether.__all__:
        assert getattr(tether, name) is not None
    with pytest.raises(AttributeError):
        tether.nonsense  # noqa: B018


@pytest.mark.parametrize("name", BARE)
def test_agent_side_needs_only_the_standard_library(name: str) -> None:
    """What runs inside an attempt imports in a bare interpreter: isolated, no site-packages, only the tether package."""
    python(f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import tether.agent.{name}", "-I", "-S")
