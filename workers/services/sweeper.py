"""Lets what has become due wait for a worker, and sends hints for lanes where something is due and nobody was told.

Lanes that are paused, or run as many as they may, get none: who resumes them, or ends one there, looks by himself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import redis
import structlog

from workers.broker import BellBroker, queue_of
from workers.executions import Executions
from workers.hints import Hints

log = structlog.get_logger(__name__)

#: How long a due execution is left to the hint of its own submission.
PATIENCE = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep did.

    Attributes:
        hinted: Lanes that were sent a hint.
        waiting: Lanes where something is due; in the others of them a hint is on its way already.
        again_in: When to sweep again at the latest: something becomes due then.
    """

    hinted: tuple[str, ...]
    waiting: tuple[str, ...]
    again_in: timedelta | None = None


class Sweeper:
    """Looks for due executions in lanes whose queue is empty.

    Two sweepers at once send a hint too many, which finds nothing to do.
    """

    def __init__(
        self, executions: Executions, broker: BellBroker, hints: Hints, patience: timedelta = PATIENCE
    ) -> None:
        self._executions = executions
        self._broker = broker
        self._hints = hints
        self._patience = patience

    def run_once(self) -> SweepResult:
        """One sweep.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        promoted = self._executions.promote()
        unparked, may_be_more = self._executions.unpark()
        lanes = sorted({*promoted.lanes, *unparked, *self._executions.unhinted_lanes(self._patience)})
        hinted = tuple(lane for lane in lanes if self._is_silent(lane) and self._hints.wake(lane))
        return SweepResult(hinted, tuple(lanes), timedelta(0) if may_be_more else promoted.again_in)

    def _is_silent(self, lane: str) -> bool:
        try:
            return self._broker.depth(queue_of(lane)) == 0
        except redis.RedisError as error:
            log.warning("queue_unreachable", lane=lane, reason=type(error).__name__)
            return False
