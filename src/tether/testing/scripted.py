"""A model server that says what a script says: OpenAI's and Anthropic's routes over real HTTP, usage, streams, faults, a ledger.

In a test: `with ScriptedModels([reply("hello")]) as models: … models.url …`. As a process, which prints its URL and serves until
SIGTERM: `python -m tether.testing.scripted --port 0 --script FILE --ledger FILE`. It never calls anything else.
"""

from __future__ import annotations

import argparse
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from tether.errors import TetherError
from tether.testing.ledger import Entry, Ledger
from tether.testing.provider import Provider
from tether.testing.script import Script, Scripted, as_script, script_from_json
from tether.testing.serving import Serving

__all__ = ["ScriptedModels", "main"]


class ScriptedModels(Serving):
    """A scripted provider on a loopback port.

    script: a list of replies (picked by turn), {marker in the goal: list}, or a function of the Request.
    ledger: a file for the book, next to the one in memory. api_key: refuse every other key (None: take any).
    models: names that /v1/models lists.
    """

    def __init__(
        self,
        script: Scripted,
        *,
        port: int = 0,
        ledger: Path | None = None,
        api_key: str | None = None,
        models: Sequence[str] = ("scripted",),
    ) -> None:
        super().__init__(port)
        self._ledger = Ledger(ledger)
        self._provider = Provider(as_script(script), self._ledger, api_key=api_key, models=models)

    def app(self) -> web.Application:
        """The provider's application."""
        return self._provider.app()

    @property
    def base_url(self) -> str:
        """The URL with /v1: what OpenAI clients and `[models.x] upstream` take."""
        return f"{self.url}/v1"

    @property
    def ledger(self) -> list[Entry]:
        """Every request so far, in order of arrival."""
        return self._ledger.entries()

    def wait_for(self, condition: Callable[[list[Entry]], bool], timeout_s: float = 10.0) -> list[Entry]:
        """Wait until `condition(ledger)` holds; raises TimeoutError after `timeout_s`."""
        return self._ledger.wait_for(condition, timeout_s)

    def open_gate(self, name: str) -> None:
        """Let replies with `fault("gate", gate=name)` go on."""
        if self.loop is None:
            raise RuntimeError("the scripted models are not started")
        self.loop.call_soon_threadsafe(self._provider.gate(name).set)

    def change(self, script: Scripted) -> None:
        """Answer by another script from now on."""
        self._provider.script = as_script(script)

    def stop(self) -> None:
        """Stop serving and close the ledger's file."""
        super().stop()
        self._ledger.close()


def _script_of(path: Path) -> Script:
    if path.suffix == ".py":
        return as_script(runpy.run_path(str(path))["script"])
    return script_from_json(path.read_text(encoding="utf-8"))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tether.testing.scripted", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (default) takes a free one")
    parser.add_argument(
        "--script", type=Path, required=True, help="JSON (a list, or {marker: list}), or a .py file with `script`"
    )
    parser.add_argument("--ledger", type=Path, help="file to append every request to, as JSON lines")
    parser.add_argument("--api-key", help="refuse every other key")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; prints the URL once the port is open."""
    given = _arguments(argv)
    # blocked before the serving thread starts, so that only sigwait below takes them
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        script = _script_of(given.script)
        with ScriptedModels(script, port=given.port, ledger=given.ledger, api_key=given.api_key) as models:
            print(models.url, flush=True)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    except (OSError, TetherError, KeyError) as error:
        print(f"scripted: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
