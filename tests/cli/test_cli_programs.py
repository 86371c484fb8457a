"""What a program needs to start: its interpreter wherever it is installed, and never the user's whole home."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.cli.programs import folders_of, variables_of


def program(path: Path, text: str = "binary") -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an interpreter of its own in it, and a virtual environment made from that."""
    python = program(tmp_path / "pythons/3.11/bin/python3")
    (tmp_path / "pythons/3.11/lib").mkdir()
    venv = tmp_path / "work/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    (venv / "bin/python").symlink_to(python)
    return tmp_path


def test_a_virtual_environment_brings_its_interpreter(home: Path) -> None:
    """Both the environment and what it was made from can be read."""
    found = folders_of("python", {"HOME": str(home), "PATH": str(home / "work/.venv/bin")})
    assert {str(home / "work/.venv"), str(home / "pythons/3.11")} <= set(found)
    assert str(home) not in found


def test_a_script_brings_what_its_first_line_names(home: Path) -> None:
    """Directly, or through env."""
    tool = program(home / "tools/report", f"#!{home}/work/.venv/bin/python\n")
    env = program(home / "tools/other", "#!/usr/bin/env -S python -u\n")
    for script in (tool, env):
        found = folders_of(str(script), {"HOME": str(home), "PATH": f"/usr/bin:{home}/work/.venv/bin"})
        assert str(home / "work/.venv") in found, script


def test_home_itself_is_never_opened(home: Path) -> None:
    """A program in ~/bin or ~/.local/bin opens its own file and folder, not what lies beside them."""
    for folder in (home / "bin", home / ".local/bin"):
        program(folder / "thing")
        (folder.parent / "lib").mkdir(exist_ok=True)
        found = folders_of("thing", {"HOME": str(home), "PATH": str(folder)})
        assert set(found) == {str(folder / "thing"), str(folder)}


def test_version_managers_open_what_their_shims_need(home: Path) -> None:
    """A shim looks for the program in the folder it belongs to."""
    program(home / ".pyenv/shims/python", "#!/bin/bash\n")
    found = folders_of("python", {"HOME": str(home), "PATH": f"{home}/.pyenv/shims:/bin"})
    assert str(home / ".pyenv") in found


def test_an_unknown_program_opens_nothing_of_its_own(home: Path) -> None:
    """It is the attempt that says that there is no such program."""
    assert folders_of("no-such-program", {"HOME": str(home), "PATH": ""}) == []


def test_only_harmless_variables_are_passed() -> None:
    """Where programs are and how to write; never a key."""
    given = {"PATH": "/bin", "OPENAI_API_KEY": "sk-x", "AWS_SECRET_ACCESS_KEY": "y", "VIRTUAL_ENV": "/v", "LANG": ""}
    assert variables_of(given) == {"PATH": "/bin", "VIRTUAL_ENV": "/v"}
