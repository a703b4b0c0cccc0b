"""Samples into the store: slice by slice, each in a transaction of its own.

The same seed, count, length, end and components make the same events with the same ids. So whoever was killed at it
does the same again: what is stored is not stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.foreign import DAY_US, Row, open_days, store_batch
from telemetry.rows import RowEncoder
from telemetry.samples.generator import Samples
from telemetry.samples.plan import Slice, slices, spans


@dataclass(slots=True)
class Filled:
    """What came of it.

    Attributes:
        stored: Events that are new.
        known: Those that were there from an earlier time.
        days_left_out: Days whose own events are no longer kept; they get none.
    """

    stored: int = 0
    known: int = 0
    days_left_out: list[datetime] = field(default_factory=list)


def fill(  # noqa: PLR0913 - what, how much, when
    connection: Connection[Any],
    samples: Samples,
    count: int,
    length: timedelta,
    until: datetime,
    after_slice: Callable[[int], None] = lambda _: None,
) -> Filled:
    """Store samples of a stretch of time.

    Args:
        connection: In autocommit mode, fit for storing (`telemetry.store.prepare_session`).
        samples: What they are made of.
        count: How many.
        length: How far back they go.
        until: None occurs then or later.
        after_slice: Told after each transaction how many events it was about.

    Raises:
        StoreUnavailable: Postgres did not answer; what is stored stays.
    """
    until_us = to_unix_us(until)
    first_us = until_us - length // timedelta(microseconds=1)
    wanted = range(first_us // DAY_US, (until_us - 1) // DAY_US + 1)
    opened = open_days(connection, wanted)
    filled = Filled(days_left_out=[from_unix_us(day * DAY_US) for day in wanted if day not in opened])
    hours = spans(first_us, until_us, opened)
    encode = RowEncoder().encode

    for part in slices(hours, count) if hours else ():

        def rows(part: Slice = part) -> Iterator[Row]:
            return ((event.occurred_at_us, encode(event)) for event in samples.events(part))

        stored, known = store_batch(connection, rows)
        filled.stored += stored
        filled.known += known
        after_slice(part.count)
    return filled
