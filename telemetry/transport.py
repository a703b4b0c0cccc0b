"""What producers gave, and what of it has arrived: up to when the stream has told everything, and what it lost.

Every producer numbers its events from 1, says with each batch which numbers it holds, what it still keeps and what it
dropped, and says so when it ends. The sink keeps the account (`telemetry_producers`); this reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, dict_row
from psycopg.types.range import Range

from telemetry.clock import to_unix_us
from telemetry.ids import least_id_at
from telemetry.settings import TelemetrySettings
from telemetry.sql import queries

SQL = queries(__file__)

#: A producer that was not heard of for so long, while others were, is not waited for. Idle ones are every 5 s. Nor are
#: rows looked at whose event may be on its way: that takes as long, at most, where the stream is read.
SILENCE: Final = TelemetrySettings.producer_silence

#: How types begin whose every event has a row behind it: it can be made again.
HAVE_ROWS: Final = ("command.execution.", "dsl.step.", "fragment.", "schedule.")

#: Whole numbers, both ends included.
Numbers = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Up to when the stream has told everything.

    Attributes:
        at: Whatever occurred before was handed over by every producer that is heard of.
        transport_at: When the newest batch arrived, or a sink last found nothing new; now, if no producer is to be
            heard of.
        held_by: The producer that holds what is oldest, if there is one.
        silent: Producers that have not been heard of for `silence` and have not said that they end; not waited for.
        silence: How long that is.
    """

    at: datetime
    transport_at: datetime
    held_by: str | None
    silent: Sequence[str]
    silence: timedelta

    def cutoff(self, grace: timedelta | None = None) -> datetime:
        """Rows of before this have their event by now, or it is missing; `grace` in place of `silence`."""
        return min(self.at, self.transport_at - (self.silence if grace is None else grace))


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One producer, from its start or a fork to its end: what it gave, and what of that has arrived.

    Attributes:
        epoch: UUIDv7 of when it began.
        producer: Its kind and process id.
        heard_at: When its newest batch arrived.
        missing: Numbers it gave that have not arrived, as ranges in order.
        given: The greatest number that is known of.
        arrived: How many have arrived.
        dropped: Events that it says it lost, by type; these have no numbers.
        rung: How hard it was pressed when last heard of.
        closed_at: When its last batch arrived, if it said that it was.
        is_heard: Whether it has not ended, as far as is known.
        healed_at: When the rows of the ledger were last compared because of it.
        healed_given: Up to which number that holds.
        healed_dropped: And of which of those that were dropped.
    """

    epoch: UUID
    producer: str
    heard_at: datetime
    missing: tuple[Numbers, ...]
    given: int
    arrived: int
    dropped: Mapping[str, int]
    rung: str
    closed_at: datetime | None
    is_heard: bool
    healed_at: datetime | None
    healed_given: int | None
    healed_dropped: Mapping[str, int] | None

    @property
    def tail_unknown(self) -> bool:
        """Whether it has ended without saying so: nobody knows of what it may have given after `given`."""
        return self.closed_at is None and not self.is_heard

    @property
    def has_faults(self) -> bool:
        """Whether anything is missing, was dropped, or cannot be known."""
        return bool(self.missing or self.dropped or self.tail_unknown)

    @property
    def lost(self) -> dict[str, int]:
        """What was dropped and cannot be made again: it has no row."""
        return {kind: count for kind, count in self.dropped.items() if not kind.startswith(HAVE_ROWS)}

    @property
    def is_healed(self) -> bool:
        """Whether it has faults, and for all of them the ledger was compared since: every row has its event."""
        if not self.has_faults or self.healed_at is None:
            return False
        dropped = self.healed_dropped or {}
        return (
            (not self.missing or self.missing[-1][1] <= (self.healed_given or 0))
            and all(count <= dropped.get(kind, 0) for kind, count in self.dropped.items())
            and (not self.tail_unknown or self.healed_at > self.heard_at)
        )

    @property
    def is_complete(self) -> bool:
        """Whether it has no faults, or only such as are healed and lost nothing that is known of."""
        return not self.has_faults or (self.is_healed and not self.lost)


def watermark(connection: Connection[Any], silence: timedelta = SILENCE) -> Watermark:
    """Up to when the stream has told everything.

    Args:
        connection: To a migrated database.
        silence: How long a producer may not be heard of before it is not waited for.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    with connection.cursor(row_factory=class_row(Watermark)) as cursor:
        found = cursor.execute(SQL["watermark"], {"silence": silence}).fetchone()
    assert found is not None  # noqa: S101 - an aggregate has a row
    return found


def list_epochs(connection: Connection[Any], since: datetime, until: datetime, mark: Watermark) -> list[Epoch]:
    """Producers that were at work in a stretch of time, in the order they began."""
    bounds = {
        "since": since,
        "until": until,
        "until_id": least_id_at(to_unix_us(until)),
        "transport_at": mark.transport_at,
        "silence": mark.silence,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_epoch(row) for row in cursor.execute(SQL["epochs"], bounds)]


def missing_ranges(seen: Iterable[Range[int]], given: int) -> tuple[Numbers, ...]:
    """Numbers from 1 to `given` that are in none of the ranges.

    Args:
        seen: In order and apart, as an `int8multirange` is: lower ends included, upper ends not.
        given: The greatest that there is.
    """
    gaps, following = [], 1
    for numbers in seen:
        before = min((numbers.lower or 0) - 1, given)
        if before >= following:
            gaps.append((following, before))
        following = max(following, numbers.upper or 0)
    if following <= given:
        gaps.append((following, given))
    return tuple(gaps)


def settled(before: Iterable[Epoch], after: Iterable[Epoch]) -> Iterator[Epoch]:
    """Of those that are still heard of, only numbers that were missing twice: several sinks are not done in order."""
    first = {epoch.epoch: epoch for epoch in before}
    for epoch in after:
        earlier = first.get(epoch.epoch)
        if not epoch.is_heard or not epoch.missing:
            yield epoch
        elif earlier is None:
            yield replace(epoch, missing=())
        else:
            yield replace(epoch, missing=in_both(earlier.missing, epoch.missing))


def in_both(one: Sequence[Numbers], other: Sequence[Numbers]) -> tuple[Numbers, ...]:
    """Numbers that are in ranges of both; each in order and apart."""
    found, mine, theirs = [], 0, 0
    while mine < len(one) and theirs < len(other):
        low, high = max(one[mine][0], other[theirs][0]), min(one[mine][1], other[theirs][1])
        if low <= high:
            found.append((low, high))
        if one[mine][1] < other[theirs][1]:
            mine += 1
        else:
            theirs += 1
    return tuple(found)


def _epoch(row: dict[str, Any]) -> Epoch:
    seen = row.pop("seen")
    given = max(row.pop("given"), *((numbers.upper or 1) - 1 for numbers in seen), 0)
    arrived = sum((numbers.upper or 0) - (numbers.lower or 0) for numbers in seen)
    return Epoch(**row, given=given, arrived=arrived, missing=missing_ranges(seen, given))
