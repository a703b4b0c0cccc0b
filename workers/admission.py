"""Whether a lane takes one more submission: not when too many wait there, or one of them for too long.

Only what somebody outside submits is refused. Schedules have their own rules for what they cannot run, and a child is
part of work that was accepted before: refusing it would make that fail, and the backlog no shorter.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from telemetry.clock import Clock
from telemetry.sql import queries
from workers.errors import QueueFull
from workers.executions import reaching_store

SQL = queries(__file__)

#: How long what a process saw of a lane counts there.
FRESH = timedelta(seconds=1)

#: Lanes that a process remembers.
MAX_LANES = 1000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Seen:
    queued: int
    age_us: int
    max_queued: int
    max_age_us: int | None


@dataclass(slots=True)
class _Allowance:
    """What a process may do about a lane before it looks again.

    Attributes:
        room: How many the lane had room for when it was looked at.
        left: How many of them are left.
        until_us: How long this counts, by the monotonic clock.
        seen: What it looked like.
    """

    room: int
    left: int
    until_us: int
    seen: _Seen


class Admission:
    """The limits of lanes, for one process.

    It looks at a lane once a second at most, or when it has accepted as many as there was room for; so several
    processes together may accept a little more than there was.

    Args:
        pool: In autocommit mode.
        clock: Monotonic differences.
        max_queued: Executions that wait in a lane for which nothing else is set.
        max_age: How long one of them may have waited, likewise; zero is no limit.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, *, max_queued: int, max_age: timedelta) -> None:
        self._pool = pool
        self._clock = clock
        self._defaults = {"max_queued": max_queued, "max_age_us": (max_age // _MICROSECOND) or None}
        self._lock = threading.Lock()
        self._allowances: dict[str, _Allowance] = {}

    def admit(self, lane: str, count: int = 1) -> None:
        """Make sure that a lane takes so many more submissions.

        Raises:
            QueueFull: It does not, for now.
            StoreUnavailable: Postgres did not answer.
        """
        if self._is_taken(lane, count):
            return
        # What it had room for is used up, or it was a second ago. Two that find that at once look twice.
        seen = self._look(lane)
        room = 0 if _is_late(seen) else max(0, seen.max_queued - seen.queued)
        until_us = self._clock.monotonic_us() + FRESH // _MICROSECOND
        with self._lock:
            if len(self._allowances) >= MAX_LANES:
                self._allowances.clear()
            self._allowances[lane] = _Allowance(room, max(0, room - count), until_us, seen)
        if room < count:
            raise _full(lane, seen)

    def _is_taken(self, lane: str, count: int) -> bool:
        """Whether what is known of the lane allows so many; it does not say so if a new look might.

        Raises:
            QueueFull: What is known forbids it.
        """
        with self._lock:
            allowance = self._allowances.get(lane)
            if allowance is None or self._clock.monotonic_us() >= allowance.until_us:
                return False
            if allowance.room < count:
                raise _full(lane, allowance.seen)
            if allowance.left < count:
                return False
            allowance.left -= count
            return True

    def _look(self, lane: str) -> _Seen:
        with (
            reaching_store(),
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(_Seen)) as cursor,
        ):
            (seen,) = cursor.execute(SQL["look"], {"lane": lane, **self._defaults}).fetchall()
            return seen


def _is_late(seen: _Seen) -> bool:
    return seen.max_age_us is not None and seen.age_us > seen.max_age_us


def _full(lane: str, seen: _Seen) -> QueueFull:
    why = (
        f"its oldest execution has waited for {seen.age_us / 1e6:.0f} s, longer than {(seen.max_age_us or 0) / 1e6:g} s"
        if _is_late(seen)
        else f"{seen.queued} executions wait there, and {seen.max_queued} may"
    )
    return QueueFull(
        f"the lane {lane} takes no more at the moment: {why}",
        hint=f"Send it again later. `weir queues show {lane}` shows the lane, `weir queues limit` sets what it takes.",
    )
