"""Sends webhooks: signed (Standard Webhooks) or as chat messages, tried again with growing waits, given up after a day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from standardwebhooks.webhooks import Webhook

from tether.errors import NotFound, TetherError
from tether.store.access_rows import DeliveryRow, EndpointRow
from tether.web.problems import log
from tether.web.targets import CheckedResolver, check_url

if TYPE_CHECKING:
    from tether.web.service import Service

__all__ = ["Deliveries", "again_in_s", "chat_message"]

_LOOK_S = 0.5
_AWAY_S = 5.0
_AT_ONCE = 20
_FIRST_S = 5.0
_LONGEST_S = 3600.0
_GONE = 410
_MOST_SHOWN = 500
_CHAT_EVENTS = "approval_asked"


def again_in_s(tries: int, since_first_s: float, most_s: float, luck: float) -> float | None:
    """Seconds until the next try after `tries` failed ones, or None when the day is over; luck from 0 to 1 spreads them."""
    wait_s = min(_FIRST_S * 4.0 ** (tries - 1), _LONGEST_S) * (0.5 + luck)
    return wait_s if since_first_s + wait_s <= most_s else None


def chat_message(kind: str, task: dict[str, Any], url: str) -> dict[str, Any]:
    """What a Slack-compatible incoming webhook takes."""
    asked = task.get("approval") or {}
    what = asked.get("question") or task["message"]
    head = "Needs a decision" if kind == _CHAT_EVENTS else "Was escalated"
    text = f"*{_plain(task['goal'])[:200]}*\n{head}: {_plain(what)[:1000]}"
    foot = f"{task['id']} · {task['task_type']} · {_plain(url)}"
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]},
    ]
    return {"text": text, "blocks": blocks}


def _plain(text: str) -> str:
    """Without what would make links or ping a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Deliveries:
    """Follows the journal for webhooks and sends what is due; several processes share the work through the store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings.webhooks
        self._loop: asyncio.Task[None] | None = None
        self._client: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.create_task(self._serve(), name="webhooks")

    async def stop(self) -> None:
        """End; what is under way is sent again by whoever comes next."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        if self._client is not None:
            await self._client.close()

    async def _serve(self) -> None:
        service = self._service
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        connector = aiohttp.TCPConnector(resolver=CheckedResolver(self._settings), use_dns_cache=False, limit=_AT_ONCE)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        sealed = await service.call(service.vault.seal, _new_secret())
        while True:
            try:
                read = await service.call(service.store.route_webhooks, sealed)
                lease_s = self._settings.timeout_s * 3
                due = await service.call(service.store.take_deliveries, _AT_ONCE, lease_s)
                await asyncio.gather(*(self._deliver(delivery) for delivery in due))
            except TetherError as error:
                log.warning("webhooks wait: %s", error)
                await asyncio.sleep(_AWAY_S)
                continue
            except Exception as error:  # one bad row must not stop all the others
                log.error("a webhook could not be handled", exc_info=error)
                await asyncio.sleep(_AWAY_S)
                continue
            if not read and not due:
                await asyncio.sleep(_LOOK_S)

    async def _deliver(self, delivery: DeliveryRow) -> None:
        store = self._service.store
        status, problem = None, ""
        try:
            endpoint = await self._service.call(store.endpoint, delivery.endpoint_id)
            status, problem = await self._post(delivery, endpoint)
        except NotFound as error:
            await self._service.call(store.not_delivered, delivery.id, None, str(error), None)
            return
        except (TetherError, aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        if status is not None and 200 <= status < 300:
            await self._service.call(store.delivered, delivery.id, status)
            return
        if status == _GONE:
            await self._service.call(store.disable_endpoint, delivery.endpoint_id)
        since_s = max(time.time() - (delivery.first_try_at_ms or delivery.created_at_ms) / 1000, 0)
        wait_s = again_in_s(delivery.tries, since_s, self._settings.retry_hours * 3600, random.random())
        wait_s = None if status == _GONE else wait_s
        await self._service.call(store.not_delivered, delivery.id, status, problem[:_MOST_SHOWN], wait_s)

    async def _post(self, delivery: DeliveryRow, endpoint: EndpointRow) -> tuple[int, str]:
        """(HTTP status, what was wrong). Raises for what got no answer."""
        await check_url(delivery.url, self._settings)
        body = await self._body(delivery, endpoint)
        headers = {"Content-Type": "application/json", "User-Agent": "tether-webhooks"}
        if endpoint.format == "standard":
            headers |= await self._signed(delivery.id, body, endpoint)
        assert self._client is not None
        async with self._client.post(delivery.url, data=body, headers=headers, allow_redirects=False) as response:
            said = await response.content.read(_MOST_SHOWN)
            return response.status, f"HTTP {response.status}: {said.decode(errors='replace')}"

    async def _body(self, delivery: DeliveryRow, endpoint: EndpointRow) -> bytes:
        event: dict[str, Any] | None = None
        task: dict[str, Any] | None = None
        if delivery.task_id:
            service = self._service
            task = (await service.call(service.store.get, delivery.task_id)).document()
            found = await service.call(service.store.events, delivery.task_id, after=delivery.seq - 1, limit=1)
            event = found[0].document() if found else None
        if endpoint.format == "slack":
            told = chat_message(delivery.type, task, self._service.url) if task else {"text": "A test from Tether."}
            return json.dumps(told).encode()
        at = event["at"] if event else datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"type": delivery.type, "timestamp": at, "data": {"event": event, "task": task}}).encode()

    async def _signed(self, delivery_id: str, body: bytes, endpoint: EndpointRow) -> dict[str, str]:
        """The three headers of Standard Webhooks; the id is the delivery's, the same at every try."""
        secret = await self._service.call(self._service.vault.unseal, endpoint.secret)
        now = datetime.now(UTC)
        signature = Webhook(secret).sign(delivery_id, now, body.decode())
        return {"webhook-id": delivery_id, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def _new_secret() -> str:
    from tether.web.routes.webhooks import new_secret

    return new_secret()
