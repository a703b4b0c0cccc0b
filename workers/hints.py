"""Hints: messages that wake a lane. Losing one loses nothing, for the sweeper sends another."""

from __future__ import annotations

from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.errors import BrokerError

from workers.broker import BellBroker, queue_of

log = structlog.get_logger(__name__)

#: Hints that wait for a lane's workers. More would wake nobody else: one that wakes runs all there is.
MAX_WAITING = 256

#: Name of the actor that runs a lane; the sender needs no more of it than this.
RUN_LANE = "run_lane"


class Hints:
    """Sends hints.

    Args:
        broker: Where to.
    """

    def __init__(self, broker: BellBroker) -> None:
        self._broker = broker

    def wake(self, lane: str, correlation_id: UUID | None = None, execution_id: UUID | None = None) -> bool:
        """Wake a lane; whether a message waits for its workers. Never raises: the row is committed, the sweeper heals.

        Args:
            lane: Whose workers to wake.
            correlation_id: The trace that caused this, for the worker's log lines.
            execution_id: Likewise. What runs is the best due execution, which may be another.
        """
        causes = {"correlation_id": correlation_id, "execution_id": execution_id}
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=queue_of(lane),
            actor_name=RUN_LANE,
            args=(lane,),
            kwargs={},
            options={name: str(cause) for name, cause in causes.items() if cause is not None},
        )
        try:
            if self._broker.depth(message.queue_name) >= MAX_WAITING:
                return True
            self._broker.enqueue(message)
        except (redis.RedisError, BrokerError) as error:
            log.warning("hint_not_sent", lane=lane, reason=type(error).__name__)
            return False
        return True
