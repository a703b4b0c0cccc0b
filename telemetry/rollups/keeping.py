"""How long buckets stay: those of minutes the shortest, those of days the longest, and these at last more coarsely.

What is not kept any more is not read from the moment that is noted, and deleted after, in pieces: killed anywhere, what
is left to delete is deleted by the next round. An hour of which late events come in then is folded from its events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

from telemetry.rollups.histogram import Histogram
from telemetry.sql import queries

SQL = queries(__file__)

#: Rows of one statement, at most.
FORGET_ROWS: Final = 10_000
_COARSEN_ROWS: Final = 1000
#: Of days that are kept longest: bins grow by 2^(1/8), and quantiles are off by 4.4 % at most.
COARSE: Final = 3

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long buckets stay, by their width.

    Attributes:
        minutes: Those of minutes.
        hours: Those of hours.
        days: Those of days.
        fine: After how long those of days are kept more coarsely.
    """

    minutes: timedelta
    hours: timedelta
    days: timedelta
    fine: timedelta


def forget(connection: Connection[Any], kept: Kept, now: datetime) -> int:
    """Delete buckets that are too old. Returns how many.

    Args:
        connection: To a migrated database, in autocommit mode.
        kept: How long they stay.
        now: The wall clock, aware.

    Raises:
        psycopg.Error: Postgres did not answer; what is gone is gone.
    """
    # Whole days: an hour is kept with all of its minutes, a day with all of its hours.
    starts = {width: _day_of(now - span) for width, span in (("minute", kept.minutes), ("hour", kept.hours))}
    days = {width: (start - _EPOCH).days for width, start in starts.items()}
    connection.execute(SQL["keep_from"], {"minutes_from": days["minute"] * 1440, "hours_from": days["hour"] * 24})
    starts["day"] = _day_of(now - kept.days)
    forgotten = sum(_forget(connection, width, until) for width, until in starts.items())
    _coarsen(connection, _day_of(now - kept.fine))
    return forgotten


def _forget(connection: Connection[Any], width: str, until: datetime) -> int:
    forgotten = 0
    while True:
        values = {"width_name": width, "until": until, "rows": FORGET_ROWS}
        count = connection.execute(SQL["forget"], values).rowcount
        forgotten += count
        if count < FORGET_ROWS:
            return forgotten


def _coarsen(connection: Connection[Any], until: datetime) -> None:
    """Keep the days before an instant in fewer bins."""
    values = {"until": until, "scale": COARSE, "rows": _COARSEN_ROWS}
    while True:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(SQL["fine_days"], values).fetchall()
            cursor.executemany(SQL["coarsen"], [_coarse(row) for row in rows])
        if len(rows) < _COARSEN_ROWS:
            return


def _coarse(row: dict[str, Any]) -> dict[str, Any]:
    fine = Histogram(row["scale"], dict(zip(row["bins"], row["counts"], strict=True)))
    counts = fine.scaled(COARSE).counts
    bins = sorted(counts)
    return {"place": row["place"], "scale": COARSE, "bins": bins, "counts": [counts[each] for each in bins]}


def _day_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
