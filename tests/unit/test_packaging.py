"""What is installed is exactly what is locked, and the tree keeps its house rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
BANNED = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "manager",
    "engine",
    "handler",
    "handlers",
    "context",
    "job",
    "misc",
}


def name_of(requirement: str) -> str:
    """The normalised project name of a requirement."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_requirement_is_locked() -> None:
    """Each dependency, of the package, its extras and its development, has a line in the lock."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(r for extra in extras for r in extra), *PROJECT["dependency-groups"]["dev"]]
    locked = {name_of(line) for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)}
    assert sorted({name_of(requirement) for requirement in wanted} - locked) == []


def test_every_locked_package_has_hashes_and_no_address() -> None:
    """The lock pins exact versions by hash and names no index, so it holds on any machine."""
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert [e.splitlines()[0] for e in entries if "==" not in e or "--hash=sha256:" not in e] == []
    assert "://" not in LOCK


def test_files_are_nouns_of_the_domain() -> None:
    """No file or folder of the package has one of the names that say nothing."""
    named = [p for p in (ROOT / "src/tether").rglob("*") if p.suffix in {".py", ""} and "__pycache__" not in p.parts]
    assert [str(p) for p in named if BANNED & set(p.stem.split("_"))] == []
