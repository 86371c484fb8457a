"""init, agents, db, doctor, help: what a new user meets first."""

from __future__ import annotations

import subprocess
import sys

from played import PlayedWorker
from terminal import Terminal
from tether.config import load


def test_help_is_light(terminal: Terminal) -> None:
    """`tether --help` reads neither the store, pydantic nor rich, so it is there at once."""
    code = (
        "import sys; from tether.cli.app import call; code = call(['--help']);"
        "print(code, [m for m in ('pydantic', 'sqlalchemy', 'rich', 'tether.store', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=terminal.folder, env=terminal.variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_every_command_explains_itself(terminal: Terminal) -> None:
    """--help of every command ends well and names the options it has everywhere."""
    from tether.cli.app import app

    names = [command.name for command in app.registered_commands]
    code = "from tether.cli.app import call; import sys; print([call([n, '--help']) for n in sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", code, *[str(n) for n in names]], env=terminal.variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str([0] * len(names))
    assert done.stdout.count("Also everywhere") == len(names)


def test_version(terminal: Terminal) -> None:
    """--version prints the package's version."""
    from tether import __version__

    assert terminal.run("--version").out == f"tether {__version__}\n"


def test_init_writes_what_the_configuration_takes(terminal: Terminal) -> None:
    """The written tether.toml loads, its example agent is listed, and a second init overwrites nothing."""
    first = terminal.run("init")
    assert first.code == 0
    assert first.out.split() == ["tether.toml", "agents/haiku.py"]
    settings = load(terminal.folder / "tether.toml")
    assert settings.agents["haiku"].entry == "haiku:agent"
    compile((terminal.folder / "agents" / "haiku.py").read_text(), "haiku.py", "exec")
    (terminal.folder / "tether.toml").write_text("# mine")
    again = terminal.run("init")
    assert (again.code, "tether.toml: is there already" in again.err) == (1, True), again
    assert (terminal.folder / "tether.toml").read_text() == "# mine"


def test_init_into_a_new_folder(terminal: Terminal) -> None:
    """init makes the folder it is given, and agents shows what is in it."""
    assert terminal.run("init", "project/deep").code == 0
    listed = terminal.run("agents", "--json", "--config", "project/deep/tether.toml").json["data"]
    assert [(row["name"], row["kind"]) for row in listed] == [("autogpt", "builtin"), ("haiku", "python")]
    assert "haiku:agent" in terminal.run("agents", "--config", "project/deep/tether.toml").out


def test_agents_counts_who_serves(terminal: Terminal, worker: PlayedWorker) -> None:
    """agents says how many workers serve each."""
    assert worker.id
    assert terminal.run("agents", "--json").json["data"][0]["workers"] == 1


def test_db_makes_and_checks_a_store(terminal: Terminal) -> None:
    """db upgrade makes the store, may be repeated, and db check counts its tasks."""
    assert terminal.run("db", "upgrade").code == 0
    assert terminal.run("db", "upgrade").code == 0
    terminal.run("submit", "x")
    found = terminal.run("db", "check", "--json").json
    assert found["tasks"]["queued"] == 1
    assert "is ready" in terminal.run("db", "check").out


def test_a_password_is_not_shown(terminal: Terminal) -> None:
    """Errors about a PostgreSQL store do not print its password."""
    ended = terminal.run("db", "check", "--store", "postgresql://me:hunter2@127.0.0.1:1/none")
    assert ended.code == 1
    assert "hunter2" not in ended.err + ended.out


def test_doctor_says_what_is_missing_and_what_to_do(terminal: Terminal) -> None:
    """Without a model doctor is not content, names every check, and each that is not well has a remedy."""
    ended = terminal.run("doctor", "--json")
    checks = {check["name"]: check for check in ended.json["data"]}
    assert {"python", "configuration", "store", "clock", "workers", "wall files", "wall processes", "wall network"} <= set(checks)
    assert {"models", "web search", "disk"} <= set(checks)
    assert (ended.code, ended.json["ok"], checks["models"]["status"]) == (1, False, "broken")
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")
    assert "OPENAI_API_KEY" in terminal.run("doctor").out


def test_doctor_is_content_with_a_model_that_answers(terminal: Terminal) -> None:
    """A configured model that answers and costs nothing leaves nothing broken."""
    from tether.testing import ScriptedModels, reply

    with ScriptedModels([reply("x")]) as models:
        (terminal.folder / "tether.toml").write_text(
            f'[models.default]\nupstream = "{models.base_url}"\nmodel = "scripted"\nfree = true'
        )
        ended = terminal.run("doctor", "--json")
        broken = [check for check in ended.json["data"] if check["status"] == "broken"]
        assert (ended.code, broken) == (0, [])


def test_doctor_names_an_unpriced_model_and_a_server_that_is_down(terminal: Terminal) -> None:
    """An unknown price comes with the line to add, a dead server with its address."""
    (terminal.folder / "tether.toml").write_text(
        '[models.default]\nupstream = "http://127.0.0.1:9/v1"\nmodel = "nobody-knows-me"\nkey_env = "NO_SUCH_KEY"\n'
        '[models.down]\nupstream = "http://127.0.0.1:9/v1"\nfree = true'
    )
    checks = {check["name"]: check for check in terminal.run("doctor", "--json").json["data"]}
    assert "NO_SUCH_KEY is not set" in checks["model default"]["found"]
    assert "127.0.0.1:9" in checks["model down"]["found"]
    assert "does not answer" in checks["model down"]["found"]
    assert '[prices."nobody-knows-me"]' in checks["price default"]["remedy"]


def test_doctor_with_a_broken_configuration_still_reports(terminal: Terminal) -> None:
    """A tether.toml that cannot be read is a finding, not the end of the checkup."""
    (terminal.folder / "tether.toml").write_text("[worker\n")
    ended = terminal.run("doctor", "--json")
    assert ended.code == 1
    assert ended.json["data"][-1]["status"] == "broken"
