"""How many retries a command may have soon, whoever runs it: what it depends on may be down, and is not to be hammered.

In any `MINUTES` minutes a command is retried no more often than a floor plus a share of its executions that were begun
then (the retry budget of Finagle and Envoy; Google's SRE book, "Handling Overload"). Beginning an execution costs no
statement: a process counts its own and hands the count over when it asks for a retry itself, which is rare. A process
that never asks hands nothing over; so the budget may be smaller than it could be, never larger. The floor holds always.

A retry beyond the budget is put off, by as much of the window as is drawn, so that what is stuck comes back a little at
a time. Nothing fails for the budget: in a queue that promises to run what it has taken, an outage is no reason to end.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import structlog
from psycopg_pool import ConnectionPool

from telemetry.clock import Clock
from telemetry.sql import queries
from workers.executions import reaching_store
from workers.fence import losing_postgres
from workers.settings import WorkerSettings

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: Length of the window.
MINUTES = 10
WINDOW = timedelta(minutes=MINUTES)

#: Commands that a process counts at a time; with more it forgets what it counted, and only floors hold for a while.
MAX_COMMANDS = 10_000

_MINUTE_US = timedelta(minutes=1) // timedelta(microseconds=1)


class RetryBudget:
    """Counts what one process begins, and grants or puts off retries. For all its threads.

    Args:
        pool: In autocommit mode.
        clock: Monotonic differences.
        share: Retries for each hundred executions begun.
        floor: Retries that are granted in any case.
        draw: From 0 to 1, at random.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Clock,
        *,
        share: int,
        floor: int,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._share = share
        self._floor = floor
        self._draw = draw
        self._lock = threading.Lock()
        #: By command: executions begun, by minute of the monotonic clock.
        self._begun: dict[str, Counter[int]] = {}

    def begin(self, slug: str) -> None:
        """Count an execution that is begun for the first time."""
        minute = self._clock.monotonic_us() // _MINUTE_US
        with self._lock:
            counted = self._begun.get(slug)
            if counted is None:
                if len(self._begun) >= MAX_COMMANDS:
                    self._begun.clear()
                counted = self._begun[slug] = Counter()
            counted[minute] += 1
            if len(counted) > MINUTES:
                del counted[min(counted)]

    def take(self, slug: str) -> bool:
        """Whether there may be another retry soon; if so it is counted. Killed after this, it is counted and was none.

        Raises:
            LedgerUnavailable: Postgres went away. What was counted is gone, for it may have been handed over.
        """
        ages = self._ages(slug)
        with losing_postgres(), self._pool.connection() as connection, connection.transaction():
            connection.execute(SQL["lock"], {"slug": slug})
            connection.execute(SQL["deposit"], {"slug": slug, "ages": list(ages), "counts": list(ages.values())})
            limits = {"minutes": MINUTES, "floor": self._floor, "share": self._share}
            granted = connection.execute(SQL["take"], {"slug": slug, **limits}).fetchone() is not None
        if not granted:
            log.info("retry_budget_spent", slug=slug)
        return granted

    def put_off(self) -> timedelta:
        """How much longer than usual a retry waits that was not granted."""
        return WINDOW * self._draw()

    def forget(self) -> int:
        """Remove counts that are too old to matter; how many."""
        with reaching_store(), self._pool.connection() as connection:
            return connection.execute(SQL["forget"], {"minutes": MINUTES}).rowcount

    def _ages(self, slug: str) -> dict[int, int]:
        """What was counted since the last time, by how many minutes ago; just now is always among these."""
        now = self._clock.monotonic_us() // _MINUTE_US
        with self._lock:
            counted = self._begun.pop(slug, Counter())
        return {0: 0} | {now - minute: begun for minute, begun in counted.items() if now - minute < MINUTES}


def make_budget(pool: ConnectionPool, clock: Clock, settings: WorkerSettings) -> RetryBudget:
    """What bounds the retries of commands, as the settings say."""
    return RetryBudget(pool, clock, share=settings.retry_share, floor=settings.retry_floor)
