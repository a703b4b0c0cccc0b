"""Hints: messages that wake a lane. Losing one loses nothing, for the sweeper sends another."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.errors import BrokerError

from telemetry.clock import Clock
from workers.broker import BellBroker, queue_of

log = structlog.get_logger(__name__)

#: Hints that wait for a lane's workers. More would wake nobody else: one that wakes runs all there is.
MAX_WAITING = 256

#: Name of the actor that runs a lane; the sender needs no more of it than this.
RUN_LANE = "run_lane"


#: How long nobody asks a Redis again that did not answer in time: each time costs a submission `SEND_TIMEOUT`.
REST = timedelta(seconds=1)


def lane_hint(lane: str, **causes: UUID | None) -> dramatiq.Message[None]:
    """A message that has a worker run a lane; `causes` are ids for its log lines."""
    return dramatiq.Message(
        queue_name=queue_of(lane),
        actor_name=RUN_LANE,
        args=(lane,),
        kwargs={},
        options={name: str(cause) for name, cause in causes.items() if cause is not None},
    )


class Hints:
    """Sends hints.

    Args:
        broker: Where to.
        clock: Monotonic differences.
    """

    def __init__(self, broker: BellBroker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._rests_until_us = 0

    def wake(self, lane: str, correlation_id: UUID | None = None, execution_id: UUID | None = None) -> bool:
        """Wake a lane; whether a message waits for its workers. Never raises: the row is committed, the sweeper heals.

        Args:
            lane: Whose workers to wake.
            correlation_id: The trace that caused this, for the worker's log lines.
            execution_id: Likewise. What runs is the best due execution, which may be another.
        """
        if self._clock.monotonic_us() < self._rests_until_us:
            return False
        message = lane_hint(lane, correlation_id=correlation_id, execution_id=execution_id)
        try:
            if self._broker.depth(message.queue_name) >= MAX_WAITING:
                return True
            self._broker.enqueue(message)
        except (redis.RedisError, BrokerError) as error:
            log.warning("hint_not_sent", lane=lane, reason=type(error).__name__)
            if isinstance(error, redis.TimeoutError):
                self._rests_until_us = self._clock.monotonic_us() + REST // timedelta(microseconds=1)
            return False
        return True
