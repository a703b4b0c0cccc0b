"""Takes executions back from workers that are gone, by the database's clock.

Poison (an execution that kills its worker) is told from bad luck: after the first death it runs again at once; from the
second on it waits, and runs alone in its process; only deaths alone count towards the last.

What will not be tried again, because it took too long and its worker was killed for that, or because it is poison,
goes on with its `on_failure` steps all the same, for these are other steps; poison alone. If they end their worker too,
it ends without them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from dsl.command import Retry
from dsl.executor import Outcome, Unsuccessful
from dsl.retries import backoff
from telemetry.clock import Clock
from telemetry.errors import WeirError
from telemetry.events import Event, Stoppage
from telemetry.recorder import Recorder
from telemetry.sql import queries
from workers.errors import CommandTimedOut, WorkerLost
from workers.executions import Claim, Executions, reaching_store
from workers.fence import Fence, Release
from workers.final_failure import keep, kept
from workers.hints import Hints
from workers.leases import SQL as LEASES
from workers.slots import pass_on
from workers.stops import fence_of

SQL = queries(__file__)

log = structlog.get_logger(__name__)

#: Gaps in a row after each of which one lease is waited.
MAX_GAPS = 3

#: Executions taken back in one transaction.
AT_ONCE = 200

#: Lost workers that ran more than one execution, of which it is remembered.
_REMEMBERED = 1000

#: How long one that killed its worker again waits.
_AFTER_DEATH = Retry(backoff=timedelta(seconds=5), max_backoff=timedelta(minutes=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan(Claim):
    """A claim whose worker is gone.

    Attributes:
        worker_id: The one that is gone.
        deaths: Workers that were lost with it before.
        deaths_alone: Those of them where nothing else ran.
        together: Executions that this worker was running, this one included; or had claimed, to run alone.
        stop: Why it was to be stopped, if it was.
        killed: Whether its worker was killed for that.
        cleans_up: Whether it may have `on_failure` steps: its definition has the word.
    """

    worker_id: UUID | None
    deaths: int
    deaths_alone: int
    together: int
    stop: Literal["cancelled", "timed_out"] | None
    killed: bool
    cleans_up: bool


@dataclass(frozen=True, slots=True)
class ReapResult:
    """What one look did.

    Attributes:
        workers: Leases that had lapsed.
        released: Executions that will run again.
        dead: Executions that have ended.
    """

    workers: int = 0
    released: int = 0
    dead: int = 0


class Reaper:
    """Looks for executions without a worker.

    After a gap between two looks (the machine slept, Postgres was away, another scheduler led) every lease may have
    lapsed while its worker is well: one lease is waited before anything is taken back.

    Args:
        pool: In autocommit mode.
        executions: Scopes of events; statistics.
        clock: Stamps.
        recorder: Takes the events of what was committed.
        hints: Wakes lanes.
        lease: How long a lease lasts.
        max_deaths: Deaths alone that are the end.
    """

    def __init__(  # noqa: PLR0913 - one collaborator or limit each
        self,
        pool: ConnectionPool,
        executions: Executions,
        clock: Clock,
        recorder: Recorder,
        hints: Hints | None,
        *,
        lease: timedelta,
        max_deaths: int,
    ) -> None:
        self._pool = pool
        self._executions = executions
        self._clock = clock
        self._recorder = recorder
        self._hints = hints
        self._lease = lease
        self._max_deaths = max_deaths
        self._shared: dict[UUID, None] = {}
        self._looked_at: datetime | None = None
        self._patient_until: datetime | None = None
        self._gaps = 0

    def run_once(self) -> ReapResult:
        """One look.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        with reaching_store(), self._pool.connection() as connection:
            if not self._is_time(connection):
                return ReapResult()
            lost = connection.execute(LEASES["give_up"]).fetchall()
            released = dead = 0
            while True:
                endings = self._take_back(connection)
                released += sum(isinstance(ending, Release) for ending in endings)
                dead += sum(isinstance(ending, Outcome) for ending in endings)
                if len(endings) < AT_ONCE:
                    break
        if lost or released or dead:
            log.warning("workers_lost", workers=len(lost), released=released, dead=dead)
        return ReapResult(len(lost), released, dead)

    def _is_time(self, connection: Connection[Any]) -> bool:
        """Whether leases that lapsed tell of workers that are gone.

        Not within one lease after a gap. On a slow machine every look may come after one: while one lease is waited,
        only a gap as long as a lease begins it again, and not without end, or nothing would ever be taken back.
        """
        now: datetime = connection.execute(SQL["clock"]).fetchone()[0]  # type: ignore[index] # it has a row
        last, self._looked_at = self._looked_at, now
        if last is not None and now < last:
            self._set_back(connection)
        gap = timedelta.max if last is None or now < last else now - last
        longest = self._lease / 2 if self._patient_until is None else self._lease
        if gap > longest and self._gaps < MAX_GAPS:
            self._patient_until = now + self._lease
            self._gaps += 1
        if self._patient_until is not None and now < self._patient_until:
            return False
        self._patient_until, self._gaps = None, 0
        return True

    def _set_back(self, connection: Connection[Any]) -> None:
        """The database's clock was set back: what was written by the later one would last, or wait, for too long."""
        connection.execute(SQL["shorten"], {"lease_ms": self._lease // timedelta(milliseconds=1)})
        connection.execute(SQL["hasten"])
        log.warning("database_clock_set_back")

    def _take_back(self, connection: Connection[Any]) -> list[Release | Outcome]:
        """Some of the orphans, in one transaction; killed before its end, they are orphans still."""
        told: list[tuple[Fence, Event | None]] = []
        endings: list[Release | Outcome] = []
        freed: set[tuple[str, str]] = set()
        with connection.transaction():
            cursor = connection.cursor(row_factory=class_row(Orphan))
            orphans = cursor.execute(SQL["orphans"], {"limit": AT_ONCE}).fetchall()
            for orphan in orphans:
                fence = self._fence(orphan, freed)
                ending = self._judge(connection, orphan, fence)
                endings.append(ending)
                written = (
                    fence.release(connection, ending)
                    if isinstance(ending, Release)
                    else fence.finish(connection, ending)
                )
                told.append((fence, fence.settle(written)))
            lanes = pass_on(connection, freed)
        for fence, event in told:
            fence.announce(event)
        if self._hints is not None:
            for lane in lanes:
                self._hints.wake(lane)
        return endings

    def _judge(self, connection: Connection[Any], orphan: Orphan, fence: Fence) -> Release | Outcome:
        if orphan.stop == "cancelled":
            how: Stoppage = "killed" if orphan.killed else "cooperatively"
            return Outcome(None, None, None, fence.committed_in(connection), "cancelled", how)
        if orphan.stop == "timed_out":
            late = CommandTimedOut("a step could not be stopped in time; its worker was killed")
            return self._end(connection, orphan, fence, late, "failed", "killed")
        was_alone = self._was_alone(orphan)
        deaths = orphan.deaths + 1
        deaths_alone = orphan.deaths_alone + was_alone
        again, is_poison = deaths > 1, was_alone and deaths_alone >= self._max_deaths
        facts = {"deaths": deaths, "deaths_alone": deaths_alone, "alone": again or is_poison}
        connection.execute(SQL["bury"], {"id": orphan.id, "fence": orphan.fence, **facts})
        if is_poison:
            lost = WorkerLost(
                f"its worker was lost {deaths_alone} times while it ran alone",
                hint="It exhausts or crashes its process. Look at its last step.",
            )
            return self._end(connection, orphan, fence, lost, "dead")
        wait = backoff(_AFTER_DEATH, deaths - 1) * random.random() if again else timedelta()
        return Release("worker_lost", wait)

    def _end(  # noqa: PLR0913 - how it ends, and where that is written
        self,
        connection: Connection[Any],
        orphan: Orphan,
        fence: Fence,
        error: WeirError,
        state: Unsuccessful,
        stopped: Stoppage | None = None,
    ) -> Release | Outcome:
        """How it ends; or first that it goes on with `on_failure`. Only once: from then on it is failing."""
        totals = fence.committed_in(connection)
        if orphan.failing is not None:
            log.warning("on_failure_failed", slug=orphan.slug, error_type=type(error).__name__)
            before = kept(orphan.failing, totals)
            return replace(before, stopped=before.stopped or stopped)
        outcome = Outcome(None, error, None, totals, state, stopped)
        if orphan.dry_run or not orphan.cleans_up:
            return outcome
        fence.settle(fence.fail(connection, keep(outcome, fence.errors)))
        return Release("worker_lost")

    def _was_alone(self, orphan: Orphan) -> bool:
        """Whether nothing else can have killed its worker. One that is to run alone may have waited for others' end.

        Its row may have been locked when those beside it were taken back: that is remembered, for a while.
        """
        if orphan.together > 1 and orphan.worker_id is not None:
            self._shared[orphan.worker_id] = None
            if len(self._shared) > _REMEMBERED:
                del self._shared[next(iter(self._shared))]
        return orphan.together == 1 and orphan.worker_id not in self._shared

    def _fence(self, orphan: Orphan, freed: set[tuple[str, str]]) -> Fence:
        return fence_of(orphan, self._pool, self._executions, self._clock, self._recorder, self._hints, freed)
