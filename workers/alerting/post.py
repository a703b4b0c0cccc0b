"""Carries messages of alerts to their channels, each attempt written down before it begins.

In a thread of its own in the scheduler's process: a channel that takes long holds up nothing else there. Killed between
taking a delivery and writing down what became of it, it is tried again when its lease is over, under the same id:
channels outside are told at least once, and the inbox exactly once, for its row is written with the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from threading import Event, Thread
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool

from dsl.channels.channel import Channel, Message
from dsl.channels.errors import ChannelFailed
from dsl.fragments import space_id
from dsl.step import Effect
from telemetry.alerts import ledger
from telemetry.alerts.ledger import Delivery, Status
from telemetry.alerts.settings import AlertSettings
from telemetry.clock import Clock
from telemetry.errors import WeirError
from workers.alerting.messages import message_of
from workers.executions import reaching_store

log = structlog.get_logger(__name__)

#: Whose space alerts are put into.
_SPACE: Final = "default"
#: After which a delivery whose taker said nothing is tried again: longer than any channel may take.
LEASE: Final = timedelta(minutes=3)
#: Waits between attempts: at most this much the first time, twice as much each time, and never more than the last.
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=10)
_MOST_DOUBLINGS: Final = 10
#: Deliveries of one round, at most.
_AT_ONCE: Final = 50
#: How often the thread looks for deliveries.
_INTERVAL: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an attempt.

    Attributes:
        delivery: Which.
        status: `due` is to be tried again.
        reason: Why it was not taken.
        latency_us: How long it took.
    """

    delivery: Delivery
    status: Status
    reason: str | None
    latency_us: int


class Post:
    """Takes what is due, and hands it to its channel.

    Args:
        pool: Postgres, in autocommit mode.
        clock: This machine's.
        channels: By name.
        settings: How long to try, and whose inbox.
        chance: Between 0 and 1: full jitter, so that those that failed together do not come back together.
    """

    def __init__(
        self,
        pool: ConnectionPool[Any],
        clock: Clock,
        channels: Mapping[str, Channel],
        settings: AlertSettings,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._channels = channels
        self._settings = settings
        self._chance = chance or Random().random

    def run_once(self) -> list[Told]:
        """Try what is due, each once, in order for each channel.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        told: list[Told] = []
        for _ in range(_AT_ONCE):
            one = self.deliver()
            if one is None:
                break
            told.append(one)
        return told

    def deliver(self, delivery_id: UUID | None = None) -> Told | None:
        """Try what is due first, or this if it is due; nothing if nothing is.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            delivery = ledger.claim(connection, self._clock.now(), LEASE, delivery_id)
            if delivery is None:
                return None
            message = self._message(connection, delivery)
        channel = self._channels[delivery.channel]
        began_us = self._clock.monotonic_us()
        if channel.effect is Effect.DATABASE:
            with reaching_store(), self._pool.connection() as connection, connection.transaction():
                failure = _try(channel, message, connection)
                return self._end(connection, delivery, failure, self._clock.monotonic_us() - began_us)
        failure = _try(channel, message, None)
        with reaching_store(), self._pool.connection() as connection:
            return self._end(connection, delivery, failure, self._clock.monotonic_us() - began_us)

    def _message(self, connection: Connection[Any], delivery: Delivery) -> Message:
        summed = ledger.summed_up(connection, delivery) if delivery.kind == "summary" else (0, [])
        alerts = ledger.told_of(connection, delivery)
        return message_of(delivery, alerts, summed, self._settings.inbox_user, space_id(connection, _SPACE))

    def _end(self, connection: Connection[Any], delivery: Delivery, failure: WeirError | None, latency_us: int) -> Told:
        now = self._clock.now()
        reason = None if failure is None else failure.reason if isinstance(failure, ChannelFailed) else failure.code
        again_at = self._again_at(delivery, now) if failure is not None and failure.retryable else None
        status = ledger.end(connection, delivery, reason=reason, latency_us=latency_us, again_at=again_at, now=now)
        if reason is not None:
            log.warning("alert_not_told", channel=delivery.channel, kind=delivery.kind, status=status, reason=reason)
        return Told(delivery, status, reason, latency_us)

    def _again_at(self, delivery: Delivery, now: datetime) -> datetime | None:
        """When to try again; never, if it was tried for long enough, or only to see whether the channel works."""
        if delivery.kind == "test" or now - delivery.created_at >= self._settings.give_up:
            return None
        longest: timedelta = min(_FIRST_WAIT * 2 ** min(delivery.attempts - 1, _MOST_DOUBLINGS), _LONGEST_WAIT)
        return now + longest * self._chance()


def _try(channel: Channel, message: Message, connection: Connection[Any] | None) -> WeirError | None:
    """Hand a message to a channel; why it was not taken, if it was not."""
    try:
        channel.deliver(message, connection)
    except WeirError as error:
        return error
    except Exception:
        # Nobody foresaw it, and nobody is helped by trying it for ever: it counts as an attempt.
        log.exception("channel_broken", origin=message.origin)
        return ChannelFailed("?", "unforeseen")
    return None


@contextmanager
def posting(post: Post) -> Iterator[None]:
    """A thread that carries messages as long as the block runs; at its end an attempt that has begun is finished."""
    stop = Event()
    thread = Thread(target=_run, args=(post, stop), name="weir alerts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LEASE.total_seconds())


def _run(post: Post, stop: Event) -> None:
    while not stop.wait(_INTERVAL.total_seconds()):
        try:
            post.run_once()
        except WeirError as error:
            log.warning("alerts_not_posted", reason=error.code)
        except Exception:
            log.exception("alerts_not_posted")
