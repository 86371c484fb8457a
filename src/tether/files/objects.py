"""Named objects in a folder, S3, Google Cloud or Azure storage, through obstore; waits and retries are bounded."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from tether.config import FilesSettings
from tether.errors import ConfigurationError, NotFound, StoreUnavailable

__all__ = ["Objects"]

_SCHEMES = ("file://", "s3://", "gs://", "az://", "memory://")
_ANSWER = timedelta(seconds=30)
_RETRY: dict[str, Any] = {"max_retries": 3, "retry_timeout": _ANSWER}


class Objects:
    """Objects below one URL; safe for any thread. Methods raise StoreUnavailable, or NotFound where that is said."""

    def __init__(self, settings: FilesSettings) -> None:
        if not settings.url.startswith(_SCHEMES):
            raise ConfigurationError("files.url", f"{settings.url!r} is not supported", f"use one of {', '.join(_SCHEMES)}")
        try:
            self._obstore: Any = importlib.import_module("obstore")
            stores: Any = importlib.import_module("obstore.store")
        except ImportError:
            raise ConfigurationError("files.url", "needs a package that is missing", "pip install 'tether[files]'") from None
        self.url = settings.url.rstrip("/")
        try:
            self._store: Any = stores.from_url(self.url, **_options(settings))
        except Exception as error:
            raise ConfigurationError("files.url", f"{settings.url!r} is not acceptable ({error})", "correct it") from None

    def url_of(self, key: str) -> str:
        """Where an object is, for people and other programs."""
        return f"{self.url}/{key}"

    def put(self, key: str, data: bytes | IO[bytes]) -> None:
        """Store an object, replacing one of the same name."""
        self._do(key, lambda: self._obstore.put(self._store, key, data))

    def put_document(self, key: str, document: Any) -> None:
        """Store JSON."""
        self.put(key, json.dumps(document, separators=(",", ":")).encode())

    def document(self, key: str) -> Any:
        """Stored JSON. Raises NotFound."""
        return json.loads(bytes(self._do(key, lambda: self._obstore.get(self._store, key).bytes())))

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self._do(key, lambda: self._obstore.head(self._store, key))
        except NotFound:
            return False
        return True

    def fetch(self, key: str, target: Path) -> None:
        """Write an object into a new file. Raises NotFound."""

        def copy() -> None:
            with target.open("xb") as file:
                for chunk in self._obstore.get(self._store, key).stream():
                    file.write(chunk)

        self._do(key, copy)

    def names(self, prefix: str) -> list[str]:
        """The names of all objects below a prefix, in order."""
        pages = self._do(prefix, lambda: list(self._obstore.list(self._store, prefix=prefix)))
        return sorted(str(item["path"]) for page in pages for item in page)

    def remove(self, names: list[str]) -> None:
        """Delete these objects."""
        if names:
            self._do(names[0], lambda: self._obstore.delete(self._store, names))

    def _do(self, key: str, work: Any) -> Any:
        try:
            return work()
        except FileNotFoundError:
            raise NotFound("file", self.url_of(key)) from None
        except FileExistsError:
            raise
        except (OSError, self._obstore.exceptions.BaseError) as error:
            text = str(error).splitlines()[0] if str(error) else repr(error)
            raise StoreUnavailable(f"the files at {self.url} cannot be reached now: {text}") from error


def _options(settings: FilesSettings) -> dict[str, Any]:
    if settings.url.startswith("file://"):
        return {"mkdir": True}
    client: dict[str, Any] = {"timeout": _ANSWER, "connect_timeout": timedelta(seconds=5)}
    options: dict[str, Any] = {"client_options": client, "retry_config": _RETRY} if "memory" not in settings.url else {}
    if settings.url.startswith("s3://"):
        given = {"endpoint": settings.endpoint, "region": settings.region}
        options |= {key: value for key, value in given.items() if value}
        client["allow_http"] = settings.endpoint.startswith("http://")
    return options
