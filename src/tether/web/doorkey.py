"""The file that lets programs of the same user in: address and one generated key, 0600, in the data folder."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tether.store.access_rows import NewKey
from tether.web.access import SCOPES, digest, new_token

if TYPE_CHECKING:
    from tether.config import Settings
    from tether.store import Store

__all__ = ["ensure", "write"]

FILE = "api.json"


@dataclass(frozen=True, kw_only=True)
class _Known:
    url: str = ""
    key: str = ""


def _read(path: Path) -> _Known:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_text())
        return _Known(url=str(found.get("url", "")), key=str(found.get("key", "")))
    return _Known()


def ensure(settings: Settings, store: Store) -> str:
    """The generated key: the one of the file while the store knows it, else a new one."""
    known = _read(settings.home / FILE)
    if known.key:
        row = store.key_by_hash(digest(known.key))
        if row is not None and row.revoked_at_ms is None:
            return known.key
    token, prefix, hashed = new_token()
    store.add_key(NewKey(tenant="default", name="local", prefix=prefix, hash=hashed, scopes=SCOPES, created_by="tether api"))
    return token


def write(settings: Settings, url: str, key: str) -> Path:
    """Put address, key and this process into the file, whole or not at all."""
    from tether.client.doorway import process_mark

    path = settings.home / FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{FILE}.{os.getpid()}")
    text = json.dumps({"url": url, "key": key, "process": process_mark(os.getpid())})
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
    return path
