"""The command line as a user meets it: a process, its two outputs and its exit code.

`run` forks each command from a process that has the imports behind it (`warm`), because a test suite starts hundreds of them;
`start` and `cold` start a new interpreter, as a shell does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tether.store import Store, open_store

_LIMIT_S = 110

_WARM = """
import json, os, sys, importlib
for name in ("tether.cli.app", "tether.config", "tether.store", "tether.store.rows", "rich.table", "rich.live", "tether.client",
             "alembic.command", "alembic.config", "alembic.runtime.migration"):
    importlib.import_module(name)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for number, name in enumerate((order["stdin"], order["stdout"], order["stderr"])):
            fd = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY)
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(order["environ"])
        os.chdir(order["cwd"])
        sys.stdin = open(0, closefd=False)
        from tether.cli import main
        main(order["words"])
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        assert self.out, self
        return json.loads(self.out)


class Warm:
    """A process that forks commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, words: tuple[str, ...], folder: Path, variables: dict[str, str], text: str | None) -> Ended:
        """Fork one command and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            places = {stream: str(Path(name, stream)) for stream in ("stdin", "stdout", "stderr")}
            for stream, place in places.items():
                Path(place).write_text(text or "" if stream == "stdin" else "", encoding="utf-8")
            order = {"words": words, "cwd": str(folder), "environ": variables, **places}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            out, err = (Path(places[stream]).read_text(encoding="utf-8") for stream in ("stdout", "stderr"))
        return Ended(code=code, out=out, err=err)

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=_LIMIT_S)


class Terminal:
    """Runs `tether` in a folder of its own, with nothing of the surrounding environment but the path."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self._warm = warm
        self._started: list[subprocess.Popen[str]] = []
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "TETHER_TEST_SESSION": os.environ["TETHER_TEST_SESSION"],
        }

    @property
    def store_url(self) -> str:
        """The store that commands use unless told otherwise."""
        return f"sqlite:///{self.folder}/.tether/tether.db"

    def store(self) -> Store:
        """That store, for playing a worker."""
        return open_store(self.store_url)

    def arguments(self, *words: str) -> list[str]:
        """The command line of a command."""
        return [sys.executable, "-m", "tether", *words]

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command in a new interpreter, with both outputs piped."""
        process = subprocess.Popen(
            self.arguments(*words),
            cwd=self.folder,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what was started and still runs."""
        for process in self._started:
            with process:
                process.kill()

    def cold(self, *words: str, **variables: str) -> Ended:
        """Run a command in a new interpreter to its end."""
        process = self.start(*words, **variables)
        out, err = process.communicate(timeout=_LIMIT_S)
        assert "Traceback" not in err, err
        return Ended(code=process.returncode, out=out, err=err)

    def run(self, *words: str, input: str | None = None, **variables: str) -> Ended:
        """Run a command, forked from the warm process, to its end."""
        ended = self._warm.run(words, self.folder, {**self.variables, **variables}, input)
        assert "Traceback" not in ended.err, ended.err
        return ended
