"""Executions that are this worker's by their row, and that nothing in its process runs.

The answer to a claim was lost on its way, or how an attempt ended could not be written. Their worker is alive and keeps
its lease, so the reaper leaves them alone; only the worker itself can know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, TypeAlias
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from telemetry.clock import Clock
from telemetry.errors import WeirError
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.executions import Executions
from workers.fence import Release
from workers.stops import PATIENCE, Held, fence_of
from workers.stops import SQL as STOPS

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: An execution and which attempt at it.
Attempt: TypeAlias = tuple[UUID, int]


class Strays:
    """Lets others go on with what strayed.

    Args:
        pool: In autocommit mode.
        executions: Scopes of events.
        clock: Stamps.
        recorder: Takes the events of what was committed.
        known: Attempts that this process has claimed and not ended.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        executions: Executions,
        clock: Clock,
        recorder: Recorder,
        known: Callable[[], Collection[Attempt]],
    ) -> None:
        self._pool = pool
        self._executions = executions
        self._clock = clock
        self._recorder = recorder
        self._known = known
        self._seen: frozenset[Attempt] = frozenset()

    def look(self, worker_id: UUID) -> int:
        """Release what is unknown for the second time; how many. Never raises: the next look finds it again.

        The first time it may be a claim whose answer is on its way. Were it so the second time as well, its run would
        find its fence lost, and write nothing.
        """
        unknown = self._of(worker_id) - frozenset(self._known())
        strayed, self._seen = unknown & self._seen, unknown
        return sum(self._release(worker_id, attempt, "store_lost") for attempt in strayed)

    def clear(self, worker_id: UUID) -> int:
        """Release all that is left of a worker that stops; how many. Never raises: its lease ends with it."""
        return sum(self._release(worker_id, attempt, "worker_stopped") for attempt in self._of(worker_id))

    def _of(self, worker_id: UUID) -> frozenset[Attempt]:
        try:
            with self._pool.connection() as connection:
                rows = connection.execute(SQL["running"], {"worker_id": worker_id}).fetchall()
        except psycopg.Error as error:
            log.warning("strays_not_looked_for", reason=type(error).__name__)
            return frozenset()
        return frozenset((execution_id, attempt) for execution_id, attempt in rows)

    def _release(self, worker_id: UUID, attempt: Attempt, reason: Literal["store_lost", "worker_stopped"]) -> bool:
        try:
            with self._pool.connection() as connection, connection.transaction():
                connection.execute(STOPS["patience"], {"timeout": PATIENCE})
                cursor = connection.cursor(row_factory=class_row(Held))
                held = cursor.execute(STOPS["hold"], {"id": attempt[0]}).fetchone()
                # Meanwhile it may have ended, or be another attempt's: then it is not astray.
                if held is None or (held.state, held.worker_id, held.attempt) != ("running", worker_id, attempt[1]):
                    return False
                fence = fence_of(held, self._pool, self._executions, self._clock, self._recorder)
                event = fence.settle(fence.release(connection, Release(reason)))
        except (psycopg.Error, WeirError) as error:
            log.warning("stray_not_released", execution_id=str(attempt[0]), reason=type(error).__name__)
            return False
        fence.announce(event)
        log.warning("stray_released", execution_id=str(attempt[0]), attempt=attempt[1], reason=reason)
        return True
