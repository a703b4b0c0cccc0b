"""Percentiles of a day of minutes: within 1.1 % of the exact ones, before and after 1,440 buckets are merged."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

import psycopg
import pytest
from fixtures.plain_figures import latency
from fixtures.samples import make_scope, now_us
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from telemetry.clock import from_unix_us
from telemetry.events import ExecutionCompleted
from telemetry.ids import mint
from telemetry.partitions import make_days
from telemetry.reading import reading
from telemetry.rollups.aggregator import Aggregator
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.metrics import Asked, latency_of, total
from telemetry.rollups.parts import Width
from telemetry.rows import RowEncoder
from telemetry.store import append_batch, insert_events
from telemetry.testing import ManualClock

pytestmark = pytest.mark.req("A-02", "S-13")

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
MINUTES, IN_EACH = 1440, 2
VALUES = MINUTES * IN_EACH

#: What durations are like, in microseconds.
SHAPES: Mapping[str, list[int]] = {
    "lognormal": [max(int(random.Random(each).lognormvariate(9, 1.5)), 1) for each in range(VALUES)],
    "bimodal": [int(random.Random(each).gauss(*((2000, 100), (900_000, 50_000))[each % 2])) for each in range(VALUES)],
    "constant": [1234] * VALUES,
    "heavy.tail": [int(100 * random.Random(each).paretovariate(0.8)) for each in range(VALUES)],
}
STORED = """
    select starts_at, events, measured, total, scale, bins, counts, least, greatest from telemetry_metrics
    where dimension = 'operation' and width = %s and operation = %s and measure = 'duration' order by starts_at
"""


@pytest.fixture
def day_us() -> int:
    """The day before yesterday."""
    return now_us() // DAY_US * DAY_US - 2 * DAY_US


@pytest.fixture
def made(connection: Connection, database_url: str, day_us: int) -> None:
    """Of each shape some events in each minute of that day, and all buckets of it."""
    make_days(connection, [from_unix_us(day_us)])
    encode, rows = RowEncoder().encode, []
    for name, values in SHAPES.items():
        scope = make_scope(command_slug=name)
        for number, duration_us in enumerate(values):
            at_us = day_us + number % MINUTES * MINUTE_US + number // MINUTES
            event = ExecutionCompleted(mint(at_us), at_us, scope, duration_us, 0, duration_us, 1, 1, 0, 0, 0)
            rows.append(encode(event))
    with connection.transaction():
        first = day_us // MINUTE_US
        insert_events(connection, rows)
        append_batch(connection, events=len(rows), duplicates=0, minutes=range(first, first + MINUTES))
    with psycopg.connect(database_url, autocommit=True) as own:
        clock = ManualClock(from_unix_us(day_us + 2 * DAY_US))
        assert Aggregator(own, clock).run_once(timedelta(minutes=1)).is_done


def stored(connection: Connection, width: Width, name: str) -> dict[datetime, Histogram]:
    """The buckets of one shape."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return {
            row["starts_at"]: Histogram(
                row["scale"], dict(zip(row["bins"], row["counts"], strict=True)), row["least"], row["greatest"]
            )
            for row in cursor.execute(STORED, (width, name))
        }


@pytest.mark.usefixtures("made")
def test_a_day_of_minutes_merged_is_the_histogram_of_its_rows_and_percentiles_are_near(
    connection: Connection, autocommit_pool: ConnectionPool, day_us: int
) -> None:
    day = from_unix_us(day_us)
    for name, values in SHAPES.items():
        minutes = stored(connection, "minute", name)
        assert len(minutes) == MINUTES
        merged = Histogram()
        for minute, histogram in minutes.items():
            number = (minute - day) // timedelta(minutes=1)
            assert histogram == Histogram.of(values[number::MINUTES])
            merged = merged.merged(histogram)

        # Merged in Python, and by Postgres from minutes to hours to the day: bin for bin what all rows make.
        assert merged == Histogram.of(values)
        assert stored(connection, "day", name) == {day: merged}
        assert sum(each.count for each in stored(connection, "hour", name).values()) == VALUES
        for asked in (
            Asked(day, day + timedelta(days=1), operation=name),
            # But for its first minute, which no hour is without: from minutes, hours and, at the end, nothing.
            Asked(day + timedelta(minutes=1), day + timedelta(days=1), operation=name),
        ):
            with reading(autocommit_pool, timedelta(seconds=30)) as reader:
                found = total(reader, asked).of("duration")
            skipped = (asked.since - day) // timedelta(minutes=1)
            of = [each for number, each in enumerate(values) if number % MINUTES >= skipped]
            assert found.histogram == Histogram.of(of)
            assert latency_of(found) == latency(of)
