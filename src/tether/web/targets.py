"""Where webhooks may go: http and https to public addresses, checked when they are made and again at every connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tether.errors import ValidationError
from tether.gateway.addresses import Denied, Target, resolve
from tether.gateway.options import EgressOptions

if TYPE_CHECKING:
    from tether.config import WebhookSettings

__all__ = ["check_url", "options_of", "target_of"]

_REMEDY = 'use a public address, or add "host:port" to [webhooks] allow_private'
_LOOK_UP_S = 10.0


def target_of(url: str) -> Target:
    """Host and port of a URL; raises ValidationError for what is not http(s) or carries credentials."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError("url", f"is not a URL ({error})", "write https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValidationError("url", "is not a plain http(s) URL", "write https://host/path")
    return Target(host=parts.hostname.lower().rstrip("."), port=port or (443 if parts.scheme == "https" else 80))


async def check_url(url: str, settings: WebhookSettings) -> None:
    """Raises ValidationError when it leads to no public address; DNS may change, so a delivery checks anew."""
    target = target_of(url)
    try:
        async with asyncio.timeout(_LOOK_UP_S):
            await resolve(target, options_of(settings))
    except (Denied, TimeoutError) as error:
        raise ValidationError("url", str(error) or "its name cannot be looked up", _REMEDY) from None


def options_of(settings: WebhookSettings) -> EgressOptions:
    """What webhooks may reach, as the gateway puts it."""
    return EgressOptions(allow_private=tuple(settings.allow_private))
