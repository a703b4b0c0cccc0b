"""Dramatiq's Redis broker, with a bell.

Dramatiq's consumers poll: often, and an idle machine is never idle; seldom, and a command waits. Here an idle consumer
blocks on a list in Redis (BLPOP) that every enqueue pushes to: it wakes within a millisecond or two, and costs nothing
while nothing happens. A message is only a hint that wakes a lane (the authority is Postgres), so Dramatiq's retries,
delays and limits are left out; and while Redis is away a consumer makes hints of its own, so that work goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer

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

#: How much longer than that Redis may take to answer until it counts as away.
BELL_PATIENCE = timedelta(seconds=1)

#: Between two looks for work while Redis is away.
AWAY_INTERVAL = timedelta(seconds=1)

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
        #: By queue: what its consumers are given to do, now and then, while Redis is away.
        self.own_hints: dict[str, Callable[[], dramatiq.Message[Any]]] = {}
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
    """Fetches when the bell rings, or a second has passed; with a full prefetch, waits for an acknowledgement.

    While Redis is away it gives out a hint of its own each `AWAY_INTERVAL`, where its queue has one.
    """

    def __init__(self, broker: BellBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._bell = broker.bell_of(queue_name)
        self._blocking = open_blocking_redis(broker.url, block=BELL_WAIT, patience=BELL_PATIENCE)
        self._acknowledged = threading.Event()
        self._unacknowledged: deque[bytes] = deque()
        self._wait = BELL_WAIT.total_seconds()
        self._is_away = False

    def ack(self, message: dramatiq.MessageProxy) -> None:
        """Never raises: what Redis cannot be told now it is told before the next fetch. Meanwhile work goes on."""
        self.queued_message_ids.discard(message.message_id)
        if _is_of_redis(message):
            self._unacknowledged.append(message.options["redis_message_id"])
        try:
            self._acknowledge()
        except redis.RedisError as error:
            log.debug("acknowledgement_postponed", reason=type(error).__name__)
        finally:
            self._acknowledged.set()

    def nack(self, message: dramatiq.MessageProxy) -> None:
        """As `ack`: no actor raises, so nothing is worth keeping as a dead letter."""
        self.ack(message)

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        super().requeue([message for message in messages if _is_of_redis(message)])  # type: ignore[no-untyped-call]

    def __next__(self) -> dramatiq.MessageProxy | None:
        try:
            if not self.message_cache:
                self._fetch()
            self.broker.pulse.beat()
        except redis.RedisError as error:
            return self._without_redis(error)
        if not self.message_cache:
            return None
        return self._given_out(dramatiq.Message.decode(self.message_cache.pop(0)))

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
        self._acknowledge()
        self.message_cache = self.broker.do_fetch(self.queue_name, room)
        if self._is_away:
            self._is_away = False
            log.info("queue_is_back", queue=self.queue_name)
        if not self.message_cache:
            # A message enqueued since the fetch has left its ring in the list, so this returns at once.
            self._blocking.blpop([self._bell], timeout=self._wait)

    def _acknowledge(self) -> None:
        while True:
            try:
                message_id = self._unacknowledged.popleft()
            except IndexError:  # workers and the consumer take from it; asking first would be asking too early
                return
            try:
                self.broker.do_ack(self.queue_name, message_id)
            except redis.RedisError:
                self._unacknowledged.append(message_id)
                raise

    def _without_redis(self, error: redis.RedisError) -> dramatiq.MessageProxy | None:
        """Wait a little, then let a worker look for itself whether there is work."""
        if not self._is_away:
            self._is_away = True
            log.warning("queue_is_away", queue=self.queue_name, reason=type(error).__name__)
        time.sleep(AWAY_INTERVAL.total_seconds())
        hint = self.broker.own_hints.get(self.queue_name)
        return self._given_out(hint()) if hint is not None else None

    def _given_out(self, message: dramatiq.Message[Any]) -> dramatiq.MessageProxy:
        self.queued_message_ids.add(message.message_id)
        return dramatiq.MessageProxy(message)


def _is_of_redis(message: dramatiq.MessageProxy) -> bool:
    return "redis_message_id" in message.options


def queue_of(lane: str) -> str:
    """Name of the queue whose messages wake a lane."""
    return f"lane.{lane}"


#: Queue of the maintenance worker.
MAINTENANCE_QUEUE = "maintenance"
