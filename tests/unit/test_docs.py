"""The documentation is true: generated pages are current, links lead somewhere, examples name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reference

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]*)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_generated_pages_are_current(name: str) -> None:
    """A generated page says what the code says; `make docs` writes it again."""
    assert name not in reference.stale()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file that exists."""
    targets = [target for target in LINK.findall(page.read_text()) if target]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page: Path) -> None:
    """Every `make target` a page tells its reader to type is there."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^\s*|`)make ([a-z0-9-]+)(?=`|\s|$)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_code_in_pages_compiles() -> None:
    """Python shown to users is Python."""
    for page in PAGES:
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
            compile(code, f"{page.relative_to(ROOT)}#{number}", "exec")


def test_every_promise_about_failures_names_a_test_that_exists() -> None:
    """Each line of the page on failures ends with the tests that show it, or says why there is none."""
    table = (ROOT / "docs/failure-semantics.md").read_text().split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 10
    for line in lines:
        shown = line.split("|")[-2].strip()
        named = re.findall(r"`(\S+?)::(\w+)`", shown)
        assert named or shown.startswith("none: "), line
        for path, test in named:
            assert f"\ndef {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_the_map_shows_every_package() -> None:
    """ARCHITECTURE.md names each package below `tether`."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.parent.name for path in (ROOT / "src" / "tether").glob("*/__init__.py")}
    assert {name for name in packages if f"`{name}/" not in page} == set()
