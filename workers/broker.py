"""Dramatiq's Redis broker, with a bell.

Dramatiq's consumers poll: often, and an idle machine is never idle; seldom, and a command waits. Here an idle consumer
blocks on a list in Redis (BLPOP) that every enqueue pushes to: it wakes within a millisecond or two, and costs nothing
while nothing happens. A message is only a hint that wakes a lane (the authority is Postgres), so Dramatiq's retries,
delays and limits are left out.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed

from telemetry.clock import SystemClock
from telemetry.connections import open_blocking_redis, open_redis
from telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

#: Prefix of every key of the queue in Redis.
NAMESPACE = "weir:queue"

#: How long one command to the queue may take. A hint that is lost is sent again; a submission must not wait for it.
SEND_TIMEOUT = timedelta(milliseconds=500)

#: Longest time a consumer blocks on the bell; a stopping worker waits at most this long for it.
BELL_WAIT = timedelta(seconds=1)

#: Rings kept while nobody listens. More would only wake consumers that find nothing.
MAX_RINGS = 64

#: Milliseconds without a heartbeat after which a worker's messages go back to the queue; they beat each `BELL_WAIT`.
HEARTBEAT_TIMEOUT_MS = 15_000

#: Commands out of a million that look for such workers: about once in ten.
MAINTENANCE_CHANCE = 100_000


class BellBroker(RedisBroker):
    """A Redis broker whose idle consumers block instead of polling.

    Args:
        url: Redis of the queue.
        middleware: Dramatiq middleware; none of Dramatiq's own is added.

    Attributes:
        pulse: Beats each time a consumer looked and Redis answered, at least each `BELL_WAIT`.
    """

    def __init__(self, url: str, middleware: list[dramatiq.Middleware]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=open_redis(url, timeout=SEND_TIMEOUT, retries=0),
            middleware=middleware,
            namespace=NAMESPACE,
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
            maintenance_chance=MAINTENANCE_CHANCE,
        )
        self.url = url
        self.pulse = Pulse(SystemClock())

    @property
    def consumer_class(self) -> type[BellConsumer]:
        return BellConsumer

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without the delay queue Dramatiq adds: delays live in Postgres."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Enqueue a message, then ring. Killed in between, a consumer finds it at its next look, within `BELL_WAIT`."""
        sent = super().enqueue(message, delay=delay)
        bell = self.bell_of(message.queue_name)
        ring = self.client.pipeline(transaction=False)
        ring.rpush(bell, 1)
        ring.ltrim(bell, -MAX_RINGS, -1)
        ring.execute()
        return sent

    def bell_of(self, queue_name: str) -> str:
        """Key of a queue's bell."""
        return f"{self.namespace}:{queue_name}.bell"

    def depth(self, queue_name: str) -> int:
        """Messages waiting in a queue, those being worked on left out."""
        return int(self.client.llen(f"{self.namespace}:{queue_name}"))

    def close(self) -> None:
        self.client.close()


class BellConsumer(_RedisConsumer):
    """Fetches when the bell rings, or a second has passed; with a full prefetch, waits for an acknowledgement."""

    def __init__(self, broker: BellBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._bell = broker.bell_of(queue_name)
        self._blocking = open_blocking_redis(broker.url, block=BELL_WAIT)
        self._acknowledged = threading.Event()
        self._wait = BELL_WAIT.total_seconds()

    def ack(self, message: dramatiq.MessageProxy) -> None:
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        finally:
            self._acknowledged.set()

    def nack(self, message: dramatiq.MessageProxy) -> None:
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._acknowledged.set()

    def __next__(self) -> dramatiq.MessageProxy | None:
        try:
            if not self.message_cache:
                self._fetch()
            self.broker.pulse.beat()
            if not self.message_cache:
                return None
        except redis.RedisError as error:
            # Dramatiq knows only this one: it closes the consumer and tries again after its restart delay.
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        message = dramatiq.Message.decode(self.message_cache.pop(0))
        self.queued_message_ids.add(message.message_id)
        return dramatiq.MessageProxy(message)

    def close(self) -> None:
        self._blocking.close()

    def _fetch(self) -> None:
        """Fill the cache; when there is nothing to take, wait once for a reason to look again."""
        room = self.prefetch - self.outstanding_message_count
        if room <= 0:
            self._acknowledged.clear()
            if self.outstanding_message_count >= self.prefetch:
                self._acknowledged.wait(self._wait)
            return
        self.message_cache = self.broker.do_fetch(self.queue_name, room)
        if not self.message_cache:
            # A message enqueued since the fetch has left its ring in the list, so this returns at once.
            self._blocking.blpop([self._bell], timeout=self._wait)


def queue_of(lane: str) -> str:
    """Name of the queue whose messages wake a lane."""
    return f"lane.{lane}"


#: Queue of the maintenance worker.
MAINTENANCE_QUEUE = "maintenance"
