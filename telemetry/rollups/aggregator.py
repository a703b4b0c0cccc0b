"""Makes buckets: minutes from events, hours from minutes, days from hours; by space and by user hours from events.

What was stored is followed by `telemetry_batches`, a row of which commits with the events it tells of. One row of
progress has the view of the database in which batches were last taken in. A batch that is not visible in that view has
not been, whenever it commits: so none is missed, however long its transaction ran, and nobody has to wait for it. The
minutes of batches are dirty from the moment the batch is visible until they are made, in whatever view one looks:
`telemetry.rollups.reading` takes those from events.

Buckets are made anew from all that belongs to them, in one transaction with one view. Only hours by space and by user,
which are made of events, get their minutes in pieces: which of them they lack is noted with each piece. A minute that
they have and that is to be made again is not taken out of them: all of the hour is made anew. In a transaction:

1. Take the lock, before the transaction begins: one that waited for it inside would go on with a view of before.
2. Let no day be dropped meanwhile (`telemetry.retention`): events that are gone would be buckets that are.
3. Take in new batches: `minutes` are dirty.
4. Make one stretch: forget what was made of it, fold it again, note that it is made and what is dirty for that; or add
   it to its hour, and note that the hour has it.

Killed anywhere, nothing of the transaction has happened, and whoever has the lock next does it. Of two at once, one
leaves. What is sealed (`telemetry_sealed`) is never made again: its events are gone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, Final, Literal

from psycopg import Connection, IsolationLevel
from psycopg.rows import dict_row, scalar_row

from telemetry.clock import Clock, from_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.parts import MINUTES, Dimension, Width
from telemetry.rollups.writing import statement
from telemetry.sql import queries

SQL = queries(__file__)

#: Key of the advisory lock: "weirroll" in ASCII.
LOCK_KEY: Final = 0x77656972726F6C6C

#: How long after its end a minute is left alone: what occurred in it is still on its way.
SETTLING: Final = timedelta(seconds=2)
#: How long one round goes on, about; what is left is for the next.
PATIENCE: Final = timedelta(seconds=10)
#: How often minutes are added to hours by space and by user, at most.
MEMBERS_INTERVAL: Final = timedelta(minutes=10)
#: How often minutes are made that were over long ago, at most: if events of them come late, others do soon.
LATE_INTERVAL: Final = timedelta(minutes=1)
#: After how many minutes that is.
_LATE_MINUTES: Final = 5
#: Minutes that one transaction makes, at most: a whole hour, if that takes less than `_LONG_S`.
_MOST_MINUTES: Final = 60
_LONG_S: Final = 2.0
_SHORT_S: Final = 0.5
#: How often the lock is asked for where one has to have it, and the pause between, in seconds.
_TRIES: Final = 30
_PAUSE_S: Final = (0.2, 0.6)

_MINUTE: Final = timedelta(minutes=1)
_MINUTE_US: Final = 60_000_000
_WHOLE: Final[tuple[Dimension, ...]] = ("operation",)
_MEMBERS: Final[tuple[Dimension, ...]] = ("space", "user")
_ALL: Final = (*_WHOLE, *_MEMBERS)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class AggregatorResult:
    """What one round did.

    Attributes:
        minutes: That were made, with events or without.
        member_minutes: The same, that were added to hours by space and by user.
        hours: That were made of their minutes.
        days: The same, all of them and those by space and by user.
        buckets: Rows that were written.
        is_done: Whether nothing was left that is over, but for what is not to be made more often.
        is_held: Whether somebody else was at it, and nothing was done.
    """

    minutes: int = 0
    member_minutes: int = 0
    hours: int = 0
    days: int = 0
    buckets: int = 0
    is_done: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What one transaction makes.

    Attributes:
        width: Of the buckets.
        dimensions: Of the buckets.
        first: Minute since 1970.
        end: Not included.
        leave: Name of the statement that notes it.
        narrower: Width of the buckets that they are made of; none for events.
        is_added: Whether to what is there; else that is forgotten.
    """

    width: Width
    dimensions: tuple[Dimension, ...]
    first: int
    end: int
    leave: Literal["leave_minutes", "leave_hour", "leave_members", "leave_day"]
    narrower: Width | None = None
    is_added: bool = False


class Aggregator:
    """Makes what is dirty and over.

    Args:
        connection: To a migrated database, in autocommit mode; its own.
        clock: Tells what is over.
        most_minutes: That one transaction makes.
        members_interval: How often minutes are added to hours by space and by user. Minutes of which events come late
            wait no longer, either.
    """

    def __init__(
        self,
        connection: Connection[Any],
        clock: Clock,
        *,
        most_minutes: int = _MOST_MINUTES,
        members_interval: timedelta = MEMBERS_INTERVAL,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._most_minutes = most_minutes
        self._pace = 1  # so that a statement ends before its time is up, however much there is in a minute
        self._members_interval = members_interval

    def run_once(self, patience: timedelta = PATIENCE) -> AggregatorResult:
        """One round: until nothing is left, or for as long as `patience`.

        Raises:
            psycopg.Error: Postgres did not answer; what was made stays.
        """
        deadline = monotonic() + patience.total_seconds()
        result = AggregatorResult()
        with _alone(self._connection) as is_alone:
            result.is_held = not is_alone
            while is_alone and self._step(None, result) and monotonic() < deadline:
                pass
        return result

    def make_day(self, first: int) -> AggregatorResult:
        """Make all of one day, over or not, before events of it go; without a limit of time.

        Args:
            first: Its first minute since 1970.

        Raises:
            psycopg.Error: Postgres did not answer; what was made stays.
        """
        result = AggregatorResult()
        for number in range(_TRIES):
            if number:
                sleep(random.uniform(*_PAUSE_S))
            with _alone(self._connection) as is_alone:
                while is_alone and self._step(first, result):
                    pass
            if is_alone:
                break
        return result

    def _step(self, day: int | None, result: AggregatorResult) -> bool:
        """One transaction, whole or not at all, of one day or of all; whether there may be more."""
        now = self._clock.now()
        began = monotonic()
        with self._connection.transaction():
            self._connection.execute(SQL["lock_events"])
            self._connection.execute(SQL["give_memory"])
            self._connection.execute(SQL["take_in"])
            stretch = self._next(now, day)
            if stretch is None:
                result.is_done = True
                return False
            result.buckets += self._make(stretch, now)
        if stretch.leave == "leave_minutes":
            result.minutes += stretch.end - stretch.first
            self._adapt(monotonic() - began)
        elif stretch.leave == "leave_members":
            result.member_minutes += stretch.end - stretch.first
            self._adapt(monotonic() - began)
        elif stretch.leave == "leave_hour":
            result.hours += 1
        else:
            result.days += 1
        return True

    def _adapt(self, took_s: float) -> None:
        """More minutes next time if these took no time, fewer if they took long."""
        if took_s > _LONG_S:
            self._pace = max(self._pace // 2, 1)
        elif took_s < _SHORT_S:
            self._pace = min(self._pace * 2, self._most_minutes)

    def _next(self, now: datetime, day: int | None) -> _Stretch | None:
        """Minutes before the hours that they are in, hours before days; the newest first, which are looked at most."""
        end = over(now) if day is None else day + MINUTES["day"]
        members_interval = self._members_interval if day is None else timedelta(0)
        values = {"from": day, "over": end, "old": end - _LATE_MINUTES, "most": self._pace, "now": now}
        late, members = {"interval": min(members_interval, LATE_INTERVAL)}, {"interval": members_interval}
        narrower: Width | None
        with self._connection.cursor(row_factory=dict_row) as cursor:
            if row := cursor.execute(SQL["next_minutes"], {**values, **late}).fetchone():
                return _Stretch("minute", _WHOLE, row["first"], row["end"], "leave_minutes")
            if row := cursor.execute(SQL["next_hour"], values).fetchone():
                narrower = "minute" if row["is_narrower_kept"] else None
                return _Stretch("hour", _WHOLE, row["first"], row["end"], "leave_hour", narrower)
            if row := cursor.execute(SQL["next_members"], {**values, **members}).fetchone():
                is_added = not row["is_anew"]
                return _Stretch("hour", _MEMBERS, row["first"], row["end"], "leave_members", is_added=is_added)
            if day is None:
                cursor.execute(SQL["rest_members"], {**values, **members})
            if row := cursor.execute(SQL["next_day"], values).fetchone():
                narrower = "hour" if row["is_narrower_kept"] else None
                return _Stretch("day", _ALL, row["first"], row["end"], "leave_day", narrower)
        return None

    def _make(self, stretch: _Stretch, now: datetime) -> int:
        values = self._values(stretch, stretch.first, stretch.end)
        if not stretch.is_added:
            # All of the buckets that it is of, even if it is a piece of them.
            step = MINUTES[stretch.width]
            bounds = stretch.first // step * step, -(-stretch.end // step) * step
            self._connection.execute(SQL["clear"], self._values(stretch, *bounds))
        made = statement(stretch.width, stretch.dimensions, stretch.narrower, adds=stretch.is_added)
        written = self._connection.execute(made, values).rowcount
        places = {"first": stretch.first, "end": stretch.end, "old": over(now) - _LATE_MINUTES, "now": now}
        self._connection.execute(SQL[stretch.leave], places)
        return written

    def _values(self, stretch: _Stretch, first: int, end: int) -> dict[str, Any]:
        """Parameters of what forgets or writes buckets of some minutes."""
        cursor = self._connection.cursor(row_factory=scalar_row)
        return {
            "width": MINUTES[stretch.width] * _MINUTE,
            "width_name": stretch.width,
            "dimensions": list(stretch.dimensions),
            "since": from_unix_us(first * _MINUTE_US),
            "until": from_unix_us(end * _MINUTE_US),
            "first_id": least_id_at(first * _MINUTE_US),
            "end_id": least_id_at(end * _MINUTE_US),
            "sealed": cursor.execute(SQL["sealed_components"], {"minute": first}).fetchone(),
        }


def over(now: datetime) -> int:
    """The first minute that is not over yet, since 1970; one that has just ended is not, either."""
    return (now - SETTLING - _EPOCH) // _MINUTE


def is_clean(connection: Connection[Any], first: int, end: int) -> bool:
    """Whether all buckets of some days are made, of all events of them that are visible.

    Args:
        connection: In a transaction; whatever should not change meanwhile is locked.
        first: Their first minute since 1970.
        end: The first after them.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    cursor = connection.cursor(row_factory=scalar_row)
    return bool(cursor.execute(SQL["is_clean"], {"from": first, "end": end}).fetchone())


def is_wanted(connection: Connection[Any], now: datetime) -> bool:
    """Whether there is something to make now.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    values = {"over": over(now), "old": over(now) - _LATE_MINUTES, "now": now}
    intervals = {"interval": LATE_INTERVAL, "members_interval": MEMBERS_INTERVAL}
    return bool(connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], {**values, **intervals}).fetchone())


@contextmanager
def _alone(connection: Connection[Any]) -> Iterator[bool]:
    """Whether nobody else makes buckets until the end of the block."""
    cursor = connection.cursor(row_factory=scalar_row)
    if not cursor.execute(SQL["try_lock"], {"key": LOCK_KEY}).fetchone():
        yield False
        return
    before, connection.isolation_level = connection.isolation_level, IsolationLevel.REPEATABLE_READ
    try:
        yield True
    finally:
        if not connection.closed:
            connection.isolation_level = before
            connection.execute(SQL["unlock"], {"key": LOCK_KEY})
