"""Logins of people on pages: a key is shown once, and a signed cookie stands for it until it expires or the key does."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from tether.secrets import Vault

__all__ = ["COOKIE", "Login", "cookie", "csrf_token", "make", "own_page", "read"]

COOKIE = "tether_login"


@dataclass(frozen=True, kw_only=True)
class Login:
    """key_id: the key it stands for; number: random, so that two logins differ; until: Unix seconds."""

    key_id: str
    number: str
    until: int


def make(vault: Vault, key_id: str, hours: int) -> tuple[Login, str]:
    """A new login and the cookie's value."""
    login = Login(key_id=key_id, number=secrets.token_urlsafe(12), until=int(time.time()) + hours * 3600)
    body = base64.urlsafe_b64encode(json.dumps([login.key_id, login.number, login.until]).encode()).decode()
    return login, f"{body}.{vault.sign('login', body.encode())}"


def read(vault: Vault, header: str) -> Login | None:
    """The login of a Cookie header; None without a valid one."""
    if COOKIE not in header:
        return None
    try:
        value = SimpleCookie(header)[COOKIE].value
        body, _, signature = value.partition(".")
        if not vault.verify("login", body.encode(), signature):
            return None
        key_id, number, until = json.loads(base64.urlsafe_b64decode(body))
    except (CookieError, KeyError, ValueError):
        return None
    return Login(key_id=key_id, number=number, until=until) if time.time() < until else None


def cookie(value: str, *, hours: int, secure: bool) -> str:
    """The Set-Cookie header; an empty value takes it back."""
    age = hours * 3600 if value else 0
    return f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def csrf_token(vault: Vault, login: Login) -> str:
    """What a page of this login sends along with every change."""
    return vault.sign("csrf", f"{login.key_id}.{login.number}".encode())


def own_page(vault: Vault, login: Login, headers: Headers) -> bool:
    """Whether a change comes from a page of ours: the right token, and no other origin."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return False
    return vault.verify("csrf", f"{login.key_id}.{login.number}".encode(), headers.get("x-csrf-token", ""))
