"""Makes buckets: minutes from events, hours from minutes, days from hours; by space and by user hours from events.

What was stored is followed by `telemetry_batches`, a row of which commits with the events it tells of. One row of
progress has the view of the database in which batches were last taken in. A batch that is not visible in that view has
not been, whenever it commits: so none is missed, however long its transaction ran, and nobody has to wait for it. The
minutes of batches are dirty from the moment the batch is visible until they are made, in whatever view one looks:
`telemetry.rollups.reading` takes those from events.

Buckets are always made anew from all that belongs to them, in one transaction with one view:

1. Take the lock, before the transaction begins: one that waited for it inside would go on with a view of before.
2. Let no day be dropped meanwhile (`telemetry.retention`): events that are gone would be buckets that are.
3. Take in new batches: `minutes` are dirty.
4. Make one stretch: forget what was made of it, fold it again, note that it is made and what is dirty for that.

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
from typing import Any, Final

from psycopg import Connection, IsolationLevel, sql
from psycopg.rows import dict_row, scalar_row

from telemetry.clock import Clock, from_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.parts import (
    COMMON,
    FIGURES,
    MEMBER,
    MINUTES,
    Dimension,
    Width,
    binned,
    columns,
    folded,
    of_buckets,
    of_events,
)
from telemetry.sql import queries

SQL = queries(__file__)

#: Key of the advisory lock: "weirroll" in ASCII.
LOCK_KEY: Final = 0x77656972726F6C6C

#: How long after its end a minute is left alone: what occurred in it is still on its way.
SETTLING: Final = timedelta(seconds=2)
#: How long one round goes on, about; what is left is for the next.
PATIENCE: Final = timedelta(seconds=10)
#: How often hours by space and by user are made, at most.
MEMBERS_INTERVAL: Final = timedelta(minutes=10)
#: Minutes that one transaction makes, at most: a whole hour, if that takes less than `_LONG_S`.
_MOST_MINUTES: Final = 60
_LONG_S: Final = 2.0
_SHORT_S: Final = 0.5
#: How often the lock is asked for where one has to have it, and the pause between, in seconds.
_TRIES: Final = 30
_PAUSE_S: Final = (0.2, 0.6)

_MINUTE: Final = timedelta(minutes=1)
_MINUTE_US: Final = 60_000_000
_MEMBERS: Final[tuple[Dimension, ...]] = ("space", "user")
_ALL: Final[tuple[Dimension, ...]] = ("operation", *_MEMBERS)

_BY_ID: Final = sql.SQL("e.event_id >= %(first_id)s and e.event_id < %(end_id)s and e.component <> all(%(sealed)s)")
_BY_BUCKET: Final = sql.SQL(
    "b.dimension = {dimension} and b.width = {width} and b.starts_at >= %(since)s and b.starts_at < %(until)s"
    " and b.component <> all(%(sealed)s)"
)
_EITHER: Final = sql.SQL(" union all ")
_TYPES: Final[dict[Dimension, sql.SQL]] = {
    "operation": sql.SQL("text"),
    "space": sql.SQL("uuid"),
    "user": sql.SQL("bytea"),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class AggregatorResult:
    """What one round did.

    Attributes:
        minutes: That were made, with events or without.
        hours: The same, all of them and those by space and user.
        days: The same.
        buckets: Rows that were written.
        is_done: Whether nothing was left that is over.
        is_held: Whether somebody else was at it, and nothing was done.
    """

    minutes: int = 0
    hours: int = 0
    days: int = 0
    buckets: int = 0
    is_done: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Buckets of one width that one transaction makes; `first` and `end` are numbers of that width since 1970."""

    width: Width
    dimensions: tuple[Dimension, ...]
    leave: str
    first: int
    end: int
    from_narrower: Width | None

    @property
    def minutes(self) -> tuple[int, int]:
        return self.first * MINUTES[self.width], self.end * MINUTES[self.width]


class Aggregator:
    """Makes what is dirty and over.

    Args:
        connection: To a migrated database, in autocommit mode; its own.
        clock: Tells what is over.
        most_minutes: That one transaction makes.
        members_interval: How often hours by space and by user are made.
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
        self._pace = min(most_minutes, 10)
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
            self._connection.execute(SQL["take_in"])
            stretch = self._next(now, day)
            if stretch is None:
                result.is_done = True
                return False
            result.buckets += self._make(stretch, now)
        made = stretch.end - stretch.first
        if stretch.width == "minute":
            result.minutes += made
            self._adapt(monotonic() - began)
        elif stretch.width == "hour":
            result.hours += made
        else:
            result.days += made
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
        interval = self._members_interval if day is None else timedelta(0)
        values = {"from": day, "over": end, "most": self._pace, "now": now, "interval": interval}
        kinds: tuple[tuple[str, Width, tuple[Dimension, ...], str, Width | None], ...] = (
            ("next_minutes", "minute", ("operation",), "leave_minutes", None),
            ("next_hour", "hour", ("operation",), "leave_hour", "minute"),
            ("next_member_hour", "hour", _MEMBERS, "leave_member_hour", None),
            ("next_day", "day", _ALL, "leave_day", "hour"),
        )
        with self._connection.cursor(row_factory=dict_row) as cursor:
            for find, width, dimensions, leave, narrower in kinds:
                row = cursor.execute(SQL[find], values).fetchone()
                if row is not None:
                    is_kept = row.get("is_narrower_kept", False)
                    return _Stretch(width, dimensions, leave, row["first"], row["end"], narrower if is_kept else None)
        return None

    def _make(self, stretch: _Stretch, now: datetime) -> int:
        first, end = stretch.minutes
        cursor = self._connection.cursor(row_factory=scalar_row)
        sealed = cursor.execute(SQL["sealed_components"], {"minute": first}).fetchone()
        values = {
            "width": MINUTES[stretch.width] * _MINUTE,
            "width_name": stretch.width,
            "dimensions": list(stretch.dimensions),
            "since": from_unix_us(first * _MINUTE_US),
            "until": from_unix_us(end * _MINUTE_US),
            "first_id": least_id_at(first * _MINUTE_US),
            "end_id": least_id_at(end * _MINUTE_US),
            "sealed": sealed,
        }
        self._connection.execute(SQL["clear"], values)
        written = self._connection.execute(statement(stretch.dimensions, stretch.from_narrower), values).rowcount
        places = {"first": stretch.first, "end": stretch.end, "over": over(now), "now": now}
        self._connection.execute(SQL[stretch.leave], places)
        return written


def statement(dimensions: tuple[Dimension, ...], narrower: Width | None) -> sql.Composed:
    """What writes the buckets of some dimensions, from narrower ones or from events, which are gone through once.

    Parameters: `width`, `width_name`, `sealed`, and `since` and `until`, or for events `first_id` and `end_id`.
    """
    if narrower is None:
        crossed = binned(of_events(_BY_ID), (*COMMON, *(MEMBER[dimension] for dimension in dimensions)))
        rows = [_rows(dimension, sql.SQL("select * from crossed")) for dimension in dimensions]
        source = sql.SQL("with crossed as materialized ({}) {}").format(crossed, _EITHER.join(rows))
    else:
        source = _EITHER.join(
            _rows(each, of_buckets(_BY_BUCKET.format(dimension=each, width=narrower))) for each in dimensions
        )
    names = ("dimension", "width", *COMMON, *MEMBER.values(), *FIGURES)
    return sql.SQL("insert into telemetry_metrics ({}) {}").format(columns(names), source)


def _rows(dimension: Dimension, parts: sql.Composable) -> sql.Composed:
    """Buckets of one dimension; what other dimensions tell apart is null."""
    members = [
        sql.Identifier(column)
        if each == dimension
        else sql.SQL("null::{} as {}").format(_TYPES[each], sql.Identifier(column))
        for each, column in MEMBER.items()
    ]
    return sql.SQL(
        "select {dimension}, %(width_name)s, {common}, {members}, {figures} from ({folded}) as bucket"
    ).format(
        dimension=dimension,
        common=columns(COMMON),
        members=sql.SQL(", ").join(members),
        figures=columns(FIGURES),
        folded=folded(parts, (*COMMON, MEMBER[dimension])),
    )


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
    """Whether there is something to make.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    row = connection.cursor(row_factory=scalar_row).execute(SQL["is_wanted"], {"over": over(now)}).fetchone()
    return bool(row)


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
