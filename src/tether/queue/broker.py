"""Wake-ups over Redis, RabbitMQ or SQS, through Kombu, the messaging library under Celery.

Messages are tiny, transient and few: a queue that already holds plenty gets no more, since any one of them makes a worker look at
the rows. At most one message is held unacknowledged, and only until the store was looked at, so no broker's time limit matters.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any
from urllib.parse import urlsplit

from tether.config import QueueSettings
from tether.errors import ConfigurationError, QueueUnavailable
from tether.queue.base import Wake, WakeUp
from tether.queue.routing import name_of
from tether.queue.transports import connection_options, extra_for

__all__ = ["Broker"]

log = logging.getLogger("tether.queue")
_PLENTY = 1000
_COUNT_EVERY_S = 1.0
_CONFIRM_S = 5.0


class Broker:
    """One connection to the broker of `settings.url`, which listens on queues of these names; see tether.queue.base.Queue.

    Raises ConfigurationError.
    """

    def __init__(self, settings: QueueSettings, names: Sequence[str]) -> None:
        extra = extra_for(settings.url)
        try:
            self._kombu: Any = importlib.import_module("kombu")
        except ImportError:
            raise ConfigurationError("queue.url", "needs a package that is missing", f"pip install 'tether[{extra}]'") from None
        self._settings = settings
        self._names = names
        self._options = connection_options(settings, len(self._names))
        self._connection: Any = None
        self._producer: Any = None
        self._consumer: Any = None
        self._consuming = False
        self._arrived: deque[Any] = deque()
        self._counted: dict[str, float] = {}
        self._full: set[str] = set()
        self._sent: dict[str, int] = {}

    def announce(self, wakes: Sequence[Wake]) -> None:
        """Publish one message for each task, but none into a queue that holds plenty. Raises QueueUnavailable."""
        with self._connected():
            for wake in wakes:
                name = name_of(self._settings, wake)
                if not self._has_plenty(name):
                    self._publish(name, wake.task_id)

    def next(self, timeout_s: float) -> WakeUp | None:
        """The next wake-up; None when there is none within timeout_s (SQS: a whole long poll). Raises QueueUnavailable."""
        with self._connected():
            self._consume()
            deadline = time.monotonic() + timeout_s
            while not self._arrived:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._drain(left_s):
                    break
            self._connection.heartbeat_check()
            if not self._arrived:
                return None
            message = self._arrived.popleft()
            return WakeUp(task_id=str(message.payload), receipt=message)

    def ack(self, wakeup: WakeUp, *, more: bool) -> None:
        """Done with it. Raises QueueUnavailable, after which it comes again."""
        with self._connected():
            if not more:
                # Before the acknowledgement, since that lets the broker send the next one to a worker without a free slot.
                self._rest()
            wakeup.receipt.ack()

    def back(self, wakeup: WakeUp) -> None:
        """For another worker. Raises QueueUnavailable, after which it comes again too."""
        with self._connected():
            self._rest()
            wakeup.receipt.requeue()

    def keep(self) -> None:
        """Send a heartbeat where the broker wants them. Raises QueueUnavailable."""
        with self._connected():
            self._connection.heartbeat_check()

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        self._producer = self._consumer = None
        self._consuming = False
        self._arrived.clear()
        self._counted.clear()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()

    # --- connecting ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self) -> Generator[None]:
        """Connect when needed; any fault ends the connection, because none of a broken one's state can be relied on."""
        try:
            if self._connection is None:
                self._connect()
            yield
        except QueueUnavailable:
            raise
        except Exception as error:
            # Each transport raises its own , some of them plain AttributeErrors on a lost connection.
            self.close()
            where = urlsplit(self._settings.url)
            place = f"{where.scheme}://{where.hostname or self._settings.region}"
            raise QueueUnavailable(f"the broker {place} cannot be reached now ({error!r})") from error

    def _connect(self) -> None:
        connection = self._kombu.Connection(**self._options)
        self._connection = connection
        # Without this a first use inside Kombu would retry for ever.
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_CONFIRM_S)
        self._producer = connection.Producer(serializer="json", auto_declare=False)
        if self._names:
            channel = connection.channel()
            queues = [self._queue(name).bind(channel) for name in self._names]
            self._consumer = self._kombu.Consumer(
                channel, queues, accept=["json"], prefetch_count=1, on_message=self._arrived.append
            )
        log.info("connected to the broker %s", connection.as_uri())

    def _queue(self, name: str) -> Any:
        return self._kombu.Queue(name, durable=True)

    # --- publishing ---------------------------------------------------------------------------------------------------

    def _publish(self, name: str, task_id: str) -> None:
        # Through the default exchange, whose routing key is the queue's name. The group keeps tasks apart on FIFO queues.
        self._sent[name] = self._sent.get(name, 0) + 1
        group = {"MessageGroupId": task_id} if self._settings.fifo else {}
        self._producer.publish(
            task_id, routing_key=name, delivery_mode="transient", confirm_timeout=_CONFIRM_S, retry=False, **group
        )

    def _has_plenty(self, name: str) -> bool:
        """Whether the queue holds enough messages; looked up now and then and after many of ours, and made when it is new."""
        is_old = time.monotonic() - self._counted.get(name, -_COUNT_EVERY_S) >= _COUNT_EVERY_S
        if is_old or self._sent.get(name, 0) >= _PLENTY // 4:
            self._sent[name] = 0
            held = self._queue(name).bind(self._producer.channel).queue_declare()
            self._counted[name] = time.monotonic()
            (self._full.add if held.message_count >= _PLENTY else self._full.discard)(name)
        return name in self._full

    # --- consuming ----------------------------------------------------------------------------------------------------

    def _consume(self) -> None:
        if not self._consuming:
            self._consumer.consume()
            self._consuming = True

    def _drain(self, timeout_s: float) -> bool:
        """Wait for what arrives; False when nothing did."""
        try:
            self._connection.drain_events(timeout=timeout_s)
        except TimeoutError:
            return False
        return True

    def _rest(self) -> None:
        if self._consuming:
            self._consumer.cancel()
            self._consuming = False
        while self._arrived:
            self._arrived.popleft().requeue()
