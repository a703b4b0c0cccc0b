"""Daily partitions of `telemetry_events`, made ahead. Days are UTC; a partition holds the ids minted in its day."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any, Final

from psycopg import Connection, Rollback, sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.ids import least_id_at
from telemetry.sql import queries

SQL = queries(__file__)

_PREFIX: Final = "telemetry_events_p"
_NAME: Final = re.compile(_PREFIX + r"(\d{8})")
_DAY_US: Final = 86_400_000_000
_DAY: Final = timedelta(days=1)

#: Key of the advisory lock: "weirpart" in ASCII.
_LOCK_KEY: Final = 0x7765697270617274
#: Longest wait for any lock; whoever calls tries again, today's partition was made a week ago.
_LOCK_TIMEOUT: Final = "2s"

#: The same for a drop, which stops everybody while it waits; and the pause before the next try, in seconds.
_DROP_TIMEOUT: Final = "500ms"
_DROP_PAUSE_S: Final = (0.2, 1.0)

_HOLD: Final = sql.SQL("lock table only telemetry_events, {} in access exclusive mode")
_DROP: Final = sql.SQL("drop table {}")
_CREATE: Final = sql.SQL("create table {} (like telemetry_events including all)")
_ATTACH: Final = sql.SQL("alter table telemetry_events attach partition {} for values from ({}) to ({})")


def make_partitions(connection: Connection[Any], now: datetime, days_ahead: int) -> list[str]:
    """Make what is missing of the daily partitions from yesterday to `days_ahead` days from now.

    A partition is created apart and then attached, so readers and writers of the others are not held up. Safe to call
    at any time, from several processes at once; all or nothing, in one transaction (a savepoint inside the caller's).

    Args:
        connection: To a migrated database.
        now: The wall clock, aware.
        days_ahead: Whole days, 0 for today only.

    Returns:
        Names of those made now, oldest first.

    Raises:
        psycopg.errors.LockNotAvailable: Somebody held a lock for more than 2 s.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return make_days(connection, (today + _DAY * number for number in range(-1, days_ahead + 1)))


def make_days(connection: Connection[Any], starts: Iterable[datetime]) -> list[str]:
    """As `make_partitions`, for these days: each by its first instant, UTC."""
    days = {name_of(day): day for day in starts}
    missing = set(days) - set(list_partitions(connection))
    if not missing:
        return []
    with connection.transaction():
        # Timeout first: the wait for the advisory lock is bounded by it too.
        connection.execute(SQL["limit_waiting"], {"timeout": _LOCK_TIMEOUT})
        connection.execute(SQL["lock_partitions"], {"key": _LOCK_KEY})
        made = sorted(set(days) - set(list_partitions(connection)))
        for name in made:
            _make(connection, name, days[name])
    return made


def drop_partition(
    connection: Connection[Any], name: str, *, tries: int = 10, before: Callable[[], bool] = lambda: True
) -> bool:
    """Drop a daily partition with all that is in it. Whether it is gone; false if somebody held it all the time.

    Each try takes its locks first, and gives all of them back when one is not to be had within 500 ms: who waits for
    the partition with the table in hand, as a late event does, would wait for a drop that waits for him. Whoever comes
    meanwhile waits until the try has ended.

    Args:
        connection: In autocommit mode, or in a transaction that has used the table in no other way.
        name: As `name_of` makes it.
        tries: How often; between them there is a pause of up to a second.
        before: Called when nobody else can reach the partition any more, in the same transaction: keeps what is to be
            kept. False: nothing is dropped, and all it did is undone.

    Raises:
        ValueError: That is no name of a daily partition.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no daily partition")
    for number in range(tries):
        if number:
            pause()
        try:
            if _drop(connection, name, before):
                return True
        except (LockNotAvailable, DeadlockDetected):
            continue
    return False


def pause() -> None:
    """Between two tries at what somebody holds."""
    sleep(random.uniform(*_DROP_PAUSE_S))


def _drop(connection: Connection[Any], name: str, before: Callable[[], bool]) -> bool:
    """One try; whether it is gone."""
    with connection.transaction():
        connection.execute(SQL["limit_waiting"], {"timeout": _DROP_TIMEOUT})
        connection.execute(SQL["lock_partitions"], {"key": _LOCK_KEY})
        is_gone = name not in list_partitions(connection)
        if not is_gone:
            connection.execute(_HOLD.format(sql.Identifier(name)))
            is_gone = before()
            if not is_gone:
                raise Rollback
            connection.execute(_DROP.format(sql.Identifier(name)))
    return is_gone


def list_partitions(connection: Connection[Any]) -> list[str]:
    """Names of the attached partitions, oldest day first."""
    return [name for (name,) in connection.execute(SQL["list_partitions"])]


def name_of(day: datetime) -> str:
    """The name of the partition of a UTC day."""
    return f"{_PREFIX}{day:%Y%m%d}"


def first_day(partitions: Iterable[str]) -> datetime | None:
    """The oldest day that has a partition, if any has."""
    days = [match[1] for match in map(_NAME.fullmatch, partitions) if match is not None]
    return from_unix_us(_day_number(min(days)) * _DAY_US) if days else None


class Horizon:
    """The days that have a partition: where events can be stored at all."""

    def __init__(self, partitions: Iterable[str]) -> None:
        matches = (_NAME.fullmatch(name) for name in partitions)
        self._days = frozenset(_day_number(match[1]) for match in matches if match is not None)
        self._last_day = max(self._days, default=-1)

    def days(self) -> list[int]:
        """Its days, whole days since 1970, the oldest first."""
        return sorted(self._days)

    def holds(self, unix_us: int) -> bool:
        """Whether what occurred at this instant has a partition to go to."""
        return unix_us // _DAY_US in self._days

    def ends_before(self, unix_us: int) -> bool:
        """Whether this instant is later than the last of its days; one that it does not hold is too old otherwise."""
        return unix_us // _DAY_US > self._last_day


def _day_number(text: str) -> int:
    day = datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)
    return to_unix_us(day) // _DAY_US


def _make(connection: Connection[Any], name: str, day: datetime) -> None:
    partition = sql.Identifier(name)
    first, end = (sql.Literal(least_id_at(to_unix_us(instant))) for instant in (day, day + _DAY))
    connection.execute(_CREATE.format(partition))
    connection.execute(_ATTACH.format(partition, first, end))
