"""Makes buckets once more from events and says which are not the same: `weir telemetry verify --rollups`.

Only clean buckets are compared, in one view of the database; dirty ones are told from events anyway. What is sealed has
no events to be compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import dict_row

from telemetry.clock import from_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.aggregator import SQL as AGGREGATOR
from telemetry.rollups.coverage import Stretch, aligned, within, without
from telemetry.rollups.parts import COMMON, FIGURES, MEMBER, MINUTES, Dimension, Width, columns, folded, of_events
from telemetry.rollups.reading import what_is_known

_MINUTE_US: Final = 60_000_000

#: Widths that each dimension is kept in.
_WIDTHS: Final[dict[Dimension, tuple[Width, ...]]] = {
    "operation": ("minute", "hour", "day"),
    "space": ("hour", "day"),
    "user": ("hour", "day"),
}

_OF_EVENTS: Final = sql.SQL("e.event_id >= %(first_id)s and e.event_id < %(end_id)s and e.component <> all(%(sealed)s)")
_STORED: Final = sql.SQL(
    "select {names} from telemetry_metrics where dimension = %(dimension)s and width = %(width_name)s"
    " and starts_at >= %(since)s and starts_at < %(until)s and component <> all(%(sealed)s)"
)
_EITHER_WAY: Final = sql.SQL(
    "with made as materialized (select {names} from ({folded}) as bucket), stored as materialized ({stored})"
    " select 'missing' as fault, * from (select * from made except all select * from stored) as each"
    " union all select 'surplus', * from (select * from stored except all select * from made) as each"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A bucket that is stored and should not be, or the other way round; one that differs is both.

    Attributes:
        fault: `missing` or `surplus`.
        width: Of the bucket.
        dimension: What it tells apart.
        starts_at: When it begins.
        event_type: Whose.
        measure: Of what.
        events: How many it counts.
        total: Their sum.
    """

    fault: str
    width: Width
    dimension: Dimension
    starts_at: datetime
    event_type: str
    measure: str
    events: int
    total: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of one stretch.

    Attributes:
        width: Of the buckets.
        dimension: What they tell apart.
        minutes: How many minutes were compared.
        differences: What is wrong.
    """

    width: Width
    dimension: Dimension
    minutes: int
    differences: list[Difference]


def lock_events(connection: Connection[Any]) -> None:
    """Let no day be dropped before the end of the transaction; before anything is read in it. As readers do."""
    connection.execute(AGGREGATOR["lock_events"])


def compare(connection: Connection[Any], first: int, end: int) -> Iterator[Comparison]:
    """Compare every clean bucket of a stretch, a day at a time.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        first: Minutes since 1970.
        end: Not included.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    for dimension, widths in _WIDTHS.items():
        known, components = what_is_known(connection, dimension)
        for width in widths:
            whole = aligned((first, end), MINUTES[width])
            kept = within([whole] if whole else [], (known.kept_from[width], end))
            for stretch in without(without(kept, known.dirty[width]), known.sealed):
                for piece in _days(stretch):
                    gone = [component for component, day in components if day[0] <= piece[0] < day[1]]
                    found = _differences(connection, dimension, width, piece, gone)
                    yield Comparison(width, dimension, piece[1] - piece[0], found)


def _differences(
    connection: Connection[Any], dimension: Dimension, width: Width, stretch: Stretch, gone: list[str]
) -> list[Difference]:
    names = (*COMMON, MEMBER[dimension], *FIGURES)
    statement = _EITHER_WAY.format(
        names=columns(names),
        folded=folded(of_events(_OF_EVENTS), (*COMMON, MEMBER[dimension])),
        stored=_STORED.format(names=columns(names)),
    )
    values = {
        "width": from_unix_us(MINUTES[width] * _MINUTE_US) - from_unix_us(0),
        "width_name": width,
        "dimension": dimension,
        "since": from_unix_us(stretch[0] * _MINUTE_US),
        "until": from_unix_us(stretch[1] * _MINUTE_US),
        "first_id": least_id_at(stretch[0] * _MINUTE_US),
        "end_id": least_id_at(stretch[1] * _MINUTE_US),
        "sealed": gone,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values, prepare=False).fetchall()
    return [
        Difference(
            row["fault"],
            width,
            dimension,
            row["starts_at"],
            row["event_type"],
            row["measure"],
            row["events"],
            row["total"],
        )
        for row in rows
    ]


def _days(stretch: Stretch) -> Iterator[Stretch]:
    first, end = stretch
    while first < end:
        cut = min((first // 1440 + 1) * 1440, end)
        yield first, cut
        first = cut
