"""Sends webhooks: signed (Standard Webhooks) or as chat messages, tried again with growing waits, given up after a day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from standardwebhooks.webhooks import Webhook

from tether.errors import NotFound, TetherError
from tether.store.access_rows import DeliveryRow, EndpointRow
from tether.web.problems import log

if TYPE_CHECKING:
    from tether.web.sending import Sender
    from tether.web.service import Service

__all__ = ["Deliveries", "again_in_s", "chat_message"]

_LOOK_S = 0.5
_GATHER_S = 0.05
_AWAY_S = 5.0
_PAGE = 1000
_AT_ONCE = 40
_EACH = 8
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
        self._sender: Sender | None = None
        self._under_way: dict[asyncio.Task[None], str] = {}

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.create_task(self._serve(), name="webhooks")

    async def stop(self) -> None:
        """End; what is under way is sent again by whoever comes next."""
        for part in (self._loop, *self._under_way):
            if part is not None:
                part.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await part
        if self._sender is not None:
            await self._sender.close()

    async def _serve(self) -> None:
        service = self._service
        sealed = await service.call(service.vault.seal, _new_secret())
        while True:
            try:
                read = await service.call(service.store.route_webhooks, sealed, _PAGE)
                due = await self._take()
            except TetherError as error:
                log.warning("webhooks wait: %s", error)
                await asyncio.sleep(_AWAY_S)
                continue
            except Exception as error:  # one bad row must not stop all the others
                log.error("a webhook could not be handled", exc_info=error)
                await asyncio.sleep(_AWAY_S)
                continue
            for delivery in due:
                sending = asyncio.create_task(self._deliver(delivery))
                self._under_way[sending] = delivery.endpoint_id
                sending.add_done_callback(self._delivered)
            if read < _PAGE:
                await self._pause(bool(due))

    async def _take(self) -> list[DeliveryRow]:
        """What is due, as far as there is room; a target that does not answer holds a part of it and never all."""
        free = _AT_ONCE - len(self._under_way)
        if free <= 0:
            return []
        lease_s = self._settings.timeout_s * 3
        busy = Counter(self._under_way.values())
        return await self._service.call(self._service.store.take_deliveries, free, lease_s, busy=busy, each=_EACH)

    async def _pause(self, sent: bool) -> None:
        """Short while there is more to send; else long enough that a busy journal is read in few transactions."""
        if sent and len(self._under_way) >= _AT_ONCE:
            await asyncio.wait(self._under_way, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(_GATHER_S if sent else _LOOK_S)

    def _delivered(self, sending: asyncio.Task[None]) -> None:
        del self._under_way[sending]
        if not sending.cancelled() and (error := sending.exception()) is not None:
            log.error("a webhook could not be handled", exc_info=error)

    async def _deliver(self, delivery: DeliveryRow) -> None:
        store = self._service.store
        status, problem = None, ""
        try:
            endpoint = await self._service.call(store.endpoint, delivery.endpoint_id)
            status, problem = await self._post(delivery, endpoint)
        except NotFound as error:
            await self._service.call(store.not_delivered, delivery.id, None, str(error), None)
            return
        except TetherError as error:
            problem = str(error)
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
        """(HTTP status, what was wrong). Raises ValidationError, NotSent for what got no answer."""
        from tether.web.sending import Sender

        body = await self._body(delivery, endpoint)
        headers = {"Content-Type": "application/json", "User-Agent": "tether-webhooks"}
        if endpoint.format == "standard":
            headers |= await self._signed(delivery.id, body, endpoint)
        if self._sender is None:
            self._sender = Sender(self._settings, _AT_ONCE)
        status, said = await self._sender.post(delivery.url, body, headers)
        return status, f"HTTP {status}: {said}"

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
