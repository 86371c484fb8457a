"""What `tether doctor` looks at; every check says what it found and, when it is not well, what to do."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether import __version__
from tether.cli.check import Check
from tether.cli.checkup_models import model_checks
from tether.cli.invocation import Invocation, shown
from tether.cli.output import one_line
from tether.errors import TetherError

if TYPE_CHECKING:
    from tether.config import Settings
    from tether.store import Store

__all__ = ["checks", "failed"]

_LEAST_DISK = 200 * 1024**2
_GOOD_DISK = 2 * 1024**3
_CLOCK_MS = 2000
_WALLS = {
    "files": "what lies outside the workspace",
    "processes": "killing every process it starts",
    "network": "no way out but the gateway",
}


def failed(found: Iterable[Check]) -> bool:
    """Whether something is broken."""
    return any(check.status == "broken" for check in found)


def checks(inv: Invocation) -> list[Check]:
    """All checks, in order; none raises."""
    found = [_python()]
    try:
        settings = inv.settings
    except TetherError as error:
        return [*found, Check(name="configuration", status="broken", found=one_line(str(error)), remedy="mend it and look again")]
    found.append(_configuration(settings))
    found += _store(settings)
    parts: tuple[Callable[[Settings], Iterator[Check]], ...] = (_walls, model_checks, _search, _disk)
    for part in parts:
        found += part(settings)
    return found


def _python() -> Check:
    what = f"{platform.python_version()} on {platform.system()} {platform.release()}, Tether {__version__}"
    if sys.platform != "linux":
        return Check(name="python", status="note", found=what, remedy="on Linux attempts start faster and behind walls")
    return Check(name="python", status="ok", found=what)


def _configuration(settings: Settings) -> Check:
    if settings.file is None:
        return Check(
            name="configuration", status="ok", found="no tether.toml, defaults and variables", remedy="`tether init` writes one"
        )
    return Check(name="configuration", status="ok", found=str(settings.file))


def _store(settings: Settings) -> Iterator[Check]:
    from tether.store import open_store

    where = shown(settings.store_url)
    try:
        store = open_store(settings.store_url)
    except TetherError as error:
        yield Check(
            name="store", status="broken", found=one_line(str(error)), remedy="check [store] url, then `tether db upgrade`"
        )
        return
    try:
        total = sum(store.counts().values())
        yield Check(name="store", status="ok", found=f"{where}, {total:,} tasks")
        yield _clock(store)
        yield _workers(store)
    except TetherError as error:
        yield Check(name="store", status="broken", found=one_line(str(error)), remedy="`tether db check` says more")
    finally:
        store.close()


def _clock(store: Store) -> Check:
    before = time.time_ns() // 1_000_000
    apart = abs(store.now_ms() - before)
    if apart > _CLOCK_MS:
        return Check(name="clock", status="note", found=f"{apart} ms from the store's", remedy="synchronise the clocks (NTP)")
    return Check(name="clock", status="ok", found=f"{apart} ms from the store's")


def _workers(store: Store) -> Check:
    alive = [row for row in store.workers() if not row.expired]
    if not alive:
        return Check(name="workers", status="ok", found="none now; `tether run` starts one, `tether worker` serves for good")
    served = ", ".join(sorted({agent for row in alive for agent in row.agents}))
    slots = sum(row.slots for row in alive)
    return Check(name="workers", status="ok", found=f"{len(alive)} with {slots} slots for {served}")


def _walls(settings: Settings) -> Iterator[Check]:
    from tether.agent.sandbox import probe

    found: Any = probe()
    wanted = settings.worker.isolation
    for wall, purpose in _WALLS.items():
        how = str(found[wall])
        why = one_line(found.get("why", {}).get(wall, ""))
        text = f"{how}: {purpose}" + (f" ({why})" if why else "")
        if how == "enforced":
            yield Check(name=f"wall {wall}", status="ok", found=text)
        else:
            status = "broken" if wanted == "enforced" else "note"
            remedy = one_line(found.get("remedy", {}).get(wall, "")) or "allow user namespaces and Landlock for this process"
            yield Check(name=f"wall {wall}", status=status, found=text, remedy=remedy)


def _search(settings: Settings) -> Iterator[Check]:
    tool = settings.tools.get("web_search")
    url = tool.options.get("url") if tool is not None else None
    if url:
        yield Check(name="web search", status="ok", found=one_line(url))
    else:
        remedy = '[tools.web_search] url = "http://…" of a SearXNG server; web_fetch works without'
        yield Check(name="web search", status="note", found="no search server", remedy=remedy)


def _disk(settings: Settings) -> Iterator[Check]:
    folder = settings.home
    while not folder.exists() and folder != Path("/"):
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GB free in {settings.home}"
    if free < _LEAST_DISK:
        yield Check(name="disk", status="broken", found=text, remedy="make room, or set data_dir to another disk")
    elif free < _GOOD_DISK:
        yield Check(name="disk", status="note", found=text, remedy="workspaces and journal grow; make room")
    else:
        yield Check(name="disk", status="ok", found=text)
