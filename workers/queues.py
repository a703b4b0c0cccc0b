"""Lanes and what somebody set of them: how much waits in each, pauses of lanes and of commands, limits.

A pause keeps new executions from being begun: those that run go on, and submissions and schedules are accepted as
before. It is a row in Postgres that every claim reads, so it counts at once, everywhere, and after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from dsl.faults import nearest
from telemetry.sql import queries
from workers.errors import LaneNotFound
from workers.executions import reaching_store
from workers.hints import Hints
from workers.slots import unpark_commands

SQL = queries(__file__)

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """Who had something wait.

    Attributes:
        name: Lane or slug.
        at: Since when.
        by: The plain name of who asked.
        until: It ends by itself then; none if somebody has to end it.
    """

    name: str
    at: datetime
    by: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a lane may not exceed; none is no limit of its own.

    Attributes:
        running: Executions that run at once.
        queued: Executions that wait, when another is submitted.
        age: How long one of them has waited, likewise.
    """

    running: int | None = None
    queued: int | None = None
    age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A lane.

    Attributes:
        lane: Its name.
        queued: Executions that wait for nothing but their turn.
        due: Those of them that a worker would look at: not those that wait for a place or for a paused command.
        scheduled: Executions that become due later.
        running: Executions that run.
        workers: Processes that take executions from it.
        oldest_age_ms: How long the one has waited that waits longest; none if none does.
        pause: Whether it is paused.
        limits: That somebody set.
    """

    lane: str
    queued: int
    due: int
    scheduled: int
    running: int
    workers: int
    oldest_age_ms: float | None
    pause: Pause | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Row:
    lane: str
    queued: int
    due: int
    scheduled: int
    running: int
    workers: int
    oldest_age_ms: float | None
    paused_at: datetime | None
    paused_by: str | None
    paused_until: datetime | None
    max_running: int | None
    max_queued: int | None
    max_age_us: int | None


class Queues:
    """Shows lanes, and holds them and commands up.

    Args:
        pool: In autocommit mode.
        hints: Wakes a lane that goes on; without them the sweeper does.
        declared: Lanes that there are whether or not anything is in them.
    """

    def __init__(self, pool: ConnectionPool, hints: Hints | None, declared: Sequence[str]) -> None:
        self._pool = pool
        self._hints = hints
        self._declared = list(declared)

    def all(self) -> list[Queue]:
        """Every lane, by name.

        Raises:
            StoreUnavailable: Postgres did not answer.
        """
        return self._read(None)

    def get(self, lane: str) -> Queue:
        """One lane.

        Raises:
            LaneNotFound: Nothing is declared, waits, runs or works under this name.
            StoreUnavailable: Postgres did not answer.
        """
        found = self._read(lane)
        if not found:
            names = [queue.lane for queue in self.all()]
            near = nearest(lane, names)
            hint = f"Did you mean {near}?" if near else f"There are {', '.join(names)}; WEIR_DSL_LANES declares lanes."
            raise LaneNotFound(f"there is no lane {lane!r}", hint=hint)
        return found[0]

    def pause(self, lane: str, by: str, until: datetime | None = None) -> Queue:
        """Begin nothing of a lane until it is resumed, or until an instant. Raises as `get`."""
        self.get(lane)
        self._pause("lane", lane, by, until)
        return self.get(lane)

    def resume(self, lane: str) -> Queue:
        """Go on with a lane; nothing happens to one that is not paused. Raises as `get`."""
        self.get(lane)
        self._resume("lane", lane)
        self._wake([lane])
        return self.get(lane)

    def limit(self, lane: str, limits: Limits) -> Queue:
        """Set the limits of a lane in place of those it had. Raises as `get`."""
        self.get(lane)
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            facts = {
                "lane": lane,
                "max_running": limits.running,
                "max_queued": limits.queued,
                "max_age_us": None if limits.age is None else limits.age // _MICROSECOND,
            }
            connection.execute(SQL["limit"], facts)
            connection.execute(SQL["forget"], {"kind": "lane", "name": lane})
        self._wake([lane])
        return self.get(lane)

    def paused_commands(self) -> dict[str, Pause]:
        """Commands that are paused, by slug."""
        return {pause.name: pause for pause in self._pauses(None)}

    def pause_of(self, slug: str) -> Pause | None:
        """Whether a command is paused."""
        return next(iter(self._pauses(slug)), None)

    def pause_command(self, slug: str, by: str, until: datetime | None = None) -> Pause | None:
        """Begin no execution of a command until it is resumed, or until an instant."""
        self._pause("command", slug, by, until)
        return self.pause_of(slug)

    def resume_command(self, slug: str) -> None:
        """Go on with a command; what many of its executions wait for is done by the sweeper."""
        self._resume("command", slug)
        with reaching_store(), self._pool.connection() as connection:
            lanes, _ = unpark_commands(connection)
        self._wake(lanes)

    def _read(self, lane: str | None) -> list[Queue]:
        with (
            reaching_store(),
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(_Row)) as cursor,
        ):
            rows = cursor.execute(SQL["queues"], {"declared": self._declared, "lane": lane}).fetchall()
        return [_queue(row) for row in rows]

    def _pauses(self, slug: str | None) -> list[Pause]:
        with reaching_store(), self._pool.connection() as connection:
            return [Pause(*row) for row in connection.execute(SQL["pauses"], {"name": slug}).fetchall()]

    def _pause(self, kind: Literal["lane", "command"], name: str, by: str, until: datetime | None) -> None:
        with reaching_store(), self._pool.connection() as connection:
            connection.execute(SQL["pause"], {"kind": kind, "name": name, "by": by, "until": until})

    def _resume(self, kind: Literal["lane", "command"], name: str) -> None:
        facts = {"kind": kind, "name": name}
        with reaching_store(), self._pool.connection() as connection, connection.transaction():
            connection.execute(SQL["resume"], facts)
            connection.execute(SQL["forget"], facts)

    def _wake(self, lanes: Sequence[str]) -> None:
        if self._hints is not None:
            for lane in lanes:
                self._hints.wake(lane)


def _queue(row: _Row) -> Queue:
    pause = None
    if row.paused_at is not None and row.paused_by is not None:
        pause = Pause(row.lane, row.paused_at, row.paused_by, row.paused_until)
    age = None if row.max_age_us is None else row.max_age_us * _MICROSECOND
    return Queue(
        lane=row.lane,
        queued=row.queued,
        due=row.due,
        scheduled=row.scheduled,
        running=row.running,
        workers=row.workers,
        oldest_age_ms=row.oldest_age_ms,
        pause=pause,
        limits=Limits(row.max_running, row.max_queued, age),
    )
