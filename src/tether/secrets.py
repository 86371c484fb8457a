"""What is kept secret: one key per installation seals task secrets and signing secrets, and signs links and logins.

The key lies in a 0600 file of the data folder (made when missing), or where `[secrets]` says; a fleet shares one.
Sealing is Fernet (AES-128-CBC with HMAC-SHA256), signing HMAC-SHA256 under a key derived per purpose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tether.errors import ConfigurationError
from tether.events import MASK

if TYPE_CHECKING:
    from tether.config import Settings

__all__ = ["KEY_FILE", "Vault", "mask"]

KEY_FILE = "secrets.key"
_REMEDY = "restore the key, or remove what was sealed with the old one"


class Vault:
    """Seals and signs with the key of an installation; `Vault.of` reads it (and makes it when there is none)."""

    def __init__(self, key: bytes) -> None:
        from cryptography.fernet import Fernet

        try:
            self._fernet = Fernet(key)
        except ValueError:
            raise ConfigurationError("secrets", "the key is not 32 bytes in URL-safe base64", _REMEDY) from None
        self._key = base64.urlsafe_b64decode(key)

    @classmethod
    def of(cls, settings: Settings) -> Vault:
        """The vault of a configuration; raises ConfigurationError when its key cannot be read or made."""
        where = settings.secrets
        if where.key_env:
            found = os.environ.get(where.key_env)
            if not found:
                raise ConfigurationError("secrets.key_env", f"{where.key_env} is not set", "set it, or use key_file")
            return cls(found.strip().encode())
        if where.key_file:
            return cls(_read((settings.base_dir / Path(where.key_file).expanduser()).resolve()))
        return cls(_read_or_make(settings.home / KEY_FILE))

    def seal(self, value: Any) -> bytes:
        """JSON, encrypted."""
        return self._fernet.encrypt(json.dumps(value).encode())

    def unseal(self, sealed: bytes) -> Any:
        """What was sealed; raises ConfigurationError when it was sealed with another key."""
        from cryptography.fernet import InvalidToken

        try:
            return json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise ConfigurationError("secrets", "something was sealed with another key", _REMEDY) from None

    def sign(self, purpose: str, data: bytes) -> str:
        """A URL-safe signature of `data`, worth nothing for another purpose."""
        derived = hmac.digest(self._key, f"tether:{purpose}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(hmac.digest(derived, data, hashlib.sha256)).rstrip(b"=").decode()

    def verify(self, purpose: str, data: bytes, signature: str) -> bool:
        """Whether `signature` is ours; takes the same time whatever is wrong."""
        return hmac.compare_digest(self.sign(purpose, data).encode(), signature.encode("utf-8", "replace"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError("secrets.key_file", f"{path} cannot be read ({error.strerror})", "check the path") from None


def _read_or_make(path: Path) -> bytes:
    """The key in the file; a new one appears whole or not at all, and only once among processes that start together."""
    from cryptography.fernet import Fernet

    if path.exists():
        return _read(path)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(Fernet.generate_key())
            os.fsync(fd)
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    except OSError as error:
        raise ConfigurationError("data_dir", f"{path} cannot be written ({error.strerror})", "choose another folder") from None
    return _read(path)


def mask(value: Any, secrets: Mapping[str, str] | Iterable[str]) -> Any:
    """A copy of JSON with every one of these values replaced wherever it stands in a text or key."""
    values = sorted(secrets.values() if isinstance(secrets, Mapping) else secrets, key=len, reverse=True)
    return _masked(value, values) if values else value


def _masked(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_masked(key, secrets): _masked(item, secrets) for key, item in items}
    if isinstance(value, list | tuple):
        return [_masked(item, secrets) for item in cast("list[Any]", value)]
    return value
