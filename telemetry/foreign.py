"""Events that no producer of this installation gave: samples, and what is brought in from other systems.

They go into the store past the stream, each batch in a transaction of its own, and are known by their
`request_source`: a column that every event has, so that marking them costs no column, no index and no migration. No
producer gave them a number and no row of the ledger stands for them, so they are neither missing nor accounted for:
`weir telemetry verify` says the same with them as without. Whoever follows the store hears of them, and of their going,
as of any other (`telemetry_batches`).

Killed at any line, whole batches are stored or gone; doing it again does the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import Connection, sql
from psycopg.errors import CheckViolation, DeadlockDetected, LockNotAvailable, UniqueViolation

from telemetry.clock import from_unix_us
from telemetry.errors import StoreUnavailable
from telemetry.ids import least_id_at
from telemetry.partitions import Horizon, list_partitions, make_days
from telemetry.sql import queries
from telemetry.store import append_batch, insert_events, insert_new_events

SQL = queries(__file__)

Mark: TypeAlias = Literal["sample", "import"]
#: When it occurred, in microseconds since 1970, and the encoded row.
Row: TypeAlias = tuple[int, bytes]
Insert: TypeAlias = Callable[[Connection[Any], Iterable[bytes]], int]

DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000
MINUTE_US: Final = 60_000_000

#: Days before today that events may be stored for: each is a table.
MAX_PAST_DAYS: Final = 400

#: Longest wait for a partition that is to be emptied at once, which stops everybody else; tries, and the pause between.
_LOCK_TIMEOUT: Final = "500ms"
_TRIES: Final = 5
_PAUSE_S: Final = (0.1, 0.5)

_LOCK: Final = sql.SQL("lock table only {} in access exclusive mode")
_TRUNCATE: Final = sql.SQL("truncate only {}")


def open_days(connection: Connection[Any], days: Iterable[int]) -> frozenset[int]:
    """Make partitions where they are missing. Returns those of the days that events can be stored for.

    A day whose events were dropped although rows of the ledger have some is not made again: they would be missing then.

    Args:
        connection: In autocommit mode, to a migrated database.
        days: Whole days since 1970, UTC.

    Raises:
        StoreUnavailable: Postgres did not answer, or somebody held a lock for more than 2 s.
    """
    wanted = frozenset(days)
    with reaching_store():
        held = Horizon(list_partitions(connection))
        lost = {day for day in wanted if not held.holds(day * DAY_US) and _has_rows(connection, day)}
        make_days(connection, [from_unix_us(day * DAY_US) for day in sorted(wanted - lost)])
    return wanted - lost


def store_batch(connection: Connection[Any], rows: Callable[[], Iterable[Row]]) -> tuple[int, int]:
    """Store rows, in one transaction, except those that are stored already. Returns how many were new, how many known.

    Args:
        connection: In autocommit mode.
        rows: Of days that are open; asked for once more if some of them are stored already.

    Raises:
        StoreUnavailable: Postgres did not answer, or a day is open no longer. Nothing was stored.
    """
    with reaching_store():
        try:
            return _store(connection, rows, insert_events)
        except UniqueViolation:
            return _store(connection, rows, insert_new_events)


def _store(connection: Connection[Any], rows: Callable[[], Iterable[Row]], insert: Insert) -> tuple[int, int]:
    tally = _Tally(rows())
    with connection.transaction():
        stored = insert(connection, tally)
        append_batch(connection, events=stored, duplicates=tally.count - stored, minutes=sorted(tally.minutes))
    return stored, tally.count - stored


def remove(connection: Connection[Any], mark: Mark, after_day: Callable[[int], None] = lambda _: None) -> int:
    """Delete every event with this mark, and the chains of their traces. Returns how many events.

    A partition that holds nothing else is emptied at once, and its room on disk is free; of others events are deleted
    an hour at a time.

    Args:
        connection: In autocommit mode.
        mark: Which.
        after_day: Told after each partition how many went.

    Raises:
        StoreUnavailable: Postgres did not answer; what is gone is gone.
    """
    removed = 0
    with reaching_store():
        days = Horizon(list_partitions(connection)).days()
        for day in days:
            gone = _remove_day(connection, mark, day)
            # A round of building that began before may still write some: they go when they are too old.
            connection.execute(SQL["delete_chains"], _bounds(mark, day * DAY_US, (day + 1) * DAY_US))
            removed += gone
            after_day(gone)
        removed += _remove_kept(connection, mark)
    return removed


def count_days(connection: Connection[Any]) -> int:
    """Partitions that `remove` looks into. Raises `StoreUnavailable`."""
    with reaching_store():
        return len(list_partitions(connection))


def _remove_day(connection: Connection[Any], mark: Mark, day: int) -> int:
    count, minutes = _marked(connection, mark, day * DAY_US, (day + 1) * DAY_US)
    if not count:
        return 0
    if _only_marked(connection, mark, day) and _empty(connection, mark, day, minutes):
        return count
    hours = sorted({minute * MINUTE_US // HOUR_US for minute in minutes})
    return sum(_remove_hour(connection, mark, hour) for hour in hours)


def _empty(connection: Connection[Any], mark: Mark, day: int, minutes: Iterable[int]) -> bool:
    """Empty a partition, if it holds nothing else still when nobody can write to it. Whether it is done."""
    partition = sql.Identifier(f"telemetry_events_p{from_unix_us(day * DAY_US):%Y%m%d}")
    for number in range(_TRIES):
        if number:
            sleep(random.uniform(*_PAUSE_S))
        try:
            with connection.transaction():
                connection.execute(SQL["limit_waiting"], {"timeout": _LOCK_TIMEOUT})
                # Who reads holds the parent: what he sees is not gone before he has read it.
                connection.execute(_LOCK.format(sql.Identifier("telemetry_events")))
                connection.execute(_LOCK.format(partition))
                if not _only_marked(connection, mark, day):
                    return False
                connection.execute(_TRUNCATE.format(partition))
                append_batch(connection, events=0, duplicates=0, minutes=minutes)
        except (LockNotAvailable, DeadlockDetected):
            continue
        return True
    return False


def _remove_hour(connection: Connection[Any], mark: Mark, hour: int) -> int:
    first_us, end_us = hour * HOUR_US, (hour + 1) * HOUR_US
    with connection.transaction():
        _, minutes = _marked(connection, mark, first_us, end_us)
        removed = connection.execute(SQL["delete_marked"], _bounds(mark, first_us, end_us)).rowcount
        append_batch(connection, events=0, duplicates=0, minutes=minutes)
    return removed


def _remove_kept(connection: Connection[Any], mark: Mark) -> int:
    with connection.transaction():
        removed, minutes = connection.execute(SQL["delete_kept"], {"source": mark}).fetchone() or (0, [])
        if removed:
            append_batch(connection, events=0, duplicates=0, minutes=minutes)
    return int(removed)


def _marked(connection: Connection[Any], mark: Mark, first_us: int, end_us: int) -> tuple[int, list[int]]:
    found = connection.execute(SQL["count_marked"], _bounds(mark, first_us, end_us)).fetchone()
    return found or (0, [])


def _only_marked(connection: Connection[Any], mark: Mark, day: int) -> bool:
    found = connection.execute(SQL["has_others"], _bounds(mark, day * DAY_US, (day + 1) * DAY_US)).fetchone()
    return found == (False,)


def _has_rows(connection: Connection[Any], day: int) -> bool:
    bounds = {"first_id": least_id_at(day * DAY_US), "end_id": least_id_at((day + 1) * DAY_US)}
    return connection.execute(SQL["day_has_rows"], bounds).fetchone() == (True,)


def _bounds(mark: Mark, first_us: int, end_us: int) -> dict[str, Any]:
    return {"source": mark, "first_id": least_id_at(first_us), "end_id": least_id_at(end_us)}


class _Tally:
    """Encoded rows, counted as they pass, and the minutes they occurred in."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0
        self.minutes: set[int] = set()

    def __iter__(self) -> Iterator[bytes]:
        add = self.minutes.add
        for occurred_at_us, row in self._rows:
            self.count += 1
            add(occurred_at_us // MINUTE_US)
            yield row


@contextmanager
def reaching_store() -> Iterator[None]:
    """Turns what Postgres cannot do just now into our error."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(f"events could not be stored: {error}", hint="Do it again: it goes on.") from error
    except CheckViolation as error:
        raise StoreUnavailable("the partition of a day was dropped meanwhile", hint="Do it again.") from error
