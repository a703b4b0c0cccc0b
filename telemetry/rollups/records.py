"""Buckets as records: whole numbers and all bins, so that whoever has them can merge them, in pages.

A record is what `telemetry.rollups.reading` answers: from clean buckets, from events where none is, so it is right at
every moment, also of a minute that has just begun. Of a position (`telemetry.query.position`) it is the same whenever
it is asked, until cleanup takes what it is made of: buckets that have anything that was stored since are left alone,
and made of the events that were there then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from psycopg import Connection, sql
from psycopg.rows import dict_row

from telemetry.clock import from_unix_us
from telemetry.errors import ExportChanged, MetricsCrossed
from telemetry.filters.kinds import EARLIEST, LATEST
from telemetry.ids import unix_ms_of
from telemetry.rollups.parts import COMMON, MEMBER, MINUTES, Dimension, Width
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, figure_of, folding
from telemetry.sql import queries

SQL = queries(__file__)

#: What each measure is counted in.
UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("duration", "queue_wait", "context", "model"), "us"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), "tokens"),
    "cache_hit": "hits",
}

_read_place: Final = msgspec.json.Decoder(
    tuple[Annotated[datetime, msgspec.Meta(tz=True)], tuple[str | None, ...]]
).decode

_KEYS: Final = COMMON[1:]
#: What every record has, in this order. Of the dimensions' own columns, those of another one are null.
FIELDS: Final = (
    *("starts_at", "width", "dimension", *_KEYS, *MEMBER.values(), "unit"),
    *("events", "errors", "measured", "sum", "min", "max", "last_at", "scale", "bins", "counts"),
)

#: Buckets that one statement reads, at most: an hour of minutes, a day of hours.
_MOST: Final[Mapping[Width, int]] = {"minute": 60, "hour": 24, "day": 14}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)

# Arrays compare nulls, too, and in this collation alike on every server.
_PLACED: Final = sql.SQL('select *, array[{keys}]::text[] collate "C" as place from ({figures}) as figure')
_PAGE: Final = sql.SQL(
    "select * from ({placed}) as placed where events > 0 and ({after})"
    " order by starts_at {direction}, place limit {limit}"
)
_COUNT: Final = sql.SQL("select count(*) from ({figures}) as figure where events > 0")
_AFTER: Final = sql.SQL("starts_at <> {at} or place > {key}::text[]")
_ALWAYS: Final = sql.SQL("true")


class Place(NamedTuple):
    """Where a record is among the others.

    Attributes:
        starts_at: When its bucket begins.
        key: What tells it apart there, as texts.
    """

    starts_at: datetime
    key: tuple[str | None, ...]

    def text(self) -> str:
        """In ASCII."""
        return json.dumps([self.starts_at.isoformat(), self.key])

    @classmethod
    def of(cls, text: str) -> Place:
        """What `text` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            found = cls(*_read_place(text))
        except msgspec.MsgspecError as error:
            raise ValueError("not a place") from error
        has_nul = any("\0" in each for each in found.key if each is not None)
        if has_nul or not EARLIEST <= found.starts_at <= LATEST or found.text() != text:
            raise ValueError("not a place")
        return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records.

    Attributes:
        since: Of buckets that have anything from this instant on; from the first one, if none.
        until: Before this instant; to the last one, if none.
        width: Of the buckets.
        dimension: What they tell apart beside what all do.
        only: Values by the names of keys: others are left out.
        stored_before: As of this position; as of now, if none.
    """

    since: datetime | None = None
    until: datetime | None = None
    width: Width = "hour"
    dimension: Dimension = "operation"
    only: Mapping[str, Collection[Any]] = field(default_factory=dict)
    stored_before: int | None = None

    @property
    def by(self) -> tuple[str, ...]:
        """What tells records of one bucket apart."""
        return (*_KEYS, MEMBER[self.dimension])

    @property
    def span(self) -> timedelta:
        """How long a bucket is."""
        return MINUTES[self.width] * _MINUTE


Record = Mapping[str, Any]


def dimension_of(
    by: Dimension | None, *, user: bool = False, space: bool = False, operation: bool = False
) -> Dimension:
    """What records tell apart: what is asked for, or what they are filtered by; operations, if neither is said.

    Raises:
        MetricsCrossed: That is not one.
    """
    filtered: dict[Dimension, bool] = {"user": user, "space": space, "operation": operation}
    asked = {name for name, is_given in filtered.items() if is_given} | ({by} if by else set())
    if len(asked) > 1:
        words = " and ".join(sorted(map(str, asked)))
        raise MetricsCrossed(
            f"{words} together: buckets are of one of them",
            hint="Leave out all but one; events have all of them: count those instead.",
        )
    return asked.pop() if asked else "operation"


def page(
    connection: Connection[Any], wanted: Wanted, limit: int, after: Place | None = None, *, newest_first: bool = False
) -> list[tuple[Place, Record]]:
    """The next records, bucket after bucket.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        wanted: Which.
        limit: At most so many, at least 1.
        after: Of the last one of the page before.
        newest_first: Whether the last bucket comes first. Within a bucket the order is the same.

    Raises:
        ExportChanged: Cleanup took what records of the position were made of.
        psycopg.Error: Postgres did not answer, or not in time.
    """
    found: list[tuple[Place, Record]] = []
    for stretch in _stretches(connection, wanted, after, newest_first=newest_first):
        found += _read(connection, wanted, stretch, limit - len(found), after, newest_first=newest_first)
        if len(found) >= limit:
            break
    return found


def count(connection: Connection[Any], wanted: Wanted) -> int:
    """How many records there are. Raises as `page`."""
    counted = 0
    for stretch in _stretches(connection, wanted, None, newest_first=False):
        asked = replace(_question(wanted, stretch), spread=False)
        folded = folding(connection, asked)
        row = connection.execute(_COUNT.format(figures=folded.statement), folded.values, prepare=False).fetchone()
        counted += row[0] if row else 0
    return counted


def _stretches(
    connection: Connection[Any], wanted: Wanted, after: Place | None, *, newest_first: bool
) -> Iterator[tuple[datetime, datetime]]:
    """Whole buckets, a few at a time: twice as many each time, for a page may be full after the first."""
    first, end = _extent(connection, wanted)
    if wanted.stored_before is not None and first < end:
        values = {"stored_before": str(wanted.stored_before), "since": first, "until": end}
        if (connection.execute(SQL["is_lost"], values).fetchone() or (False,))[0]:
            raise ExportChanged(
                "events that metrics were made of were deleted before these were written: cleanup ran meanwhile",
                hint="Begin anew; what is there now is exported then.",
            )
    if after is not None:
        first, end = (first, min(end, after.starts_at + wanted.span)) if newest_first else (after.starts_at, end)
    buckets = 1
    while first < end:
        most = buckets * wanted.span
        stretch = (max(first, end - most), end) if newest_first else (first, min(end, first + most))
        yield stretch
        first, end = (first, stretch[0]) if newest_first else (stretch[1], end)
        buckets = min(2 * buckets, _MOST[wanted.width])


def _extent(connection: Connection[Any], wanted: Wanted) -> tuple[datetime, datetime]:
    """From the beginning of the first bucket to the end of the last, of those that there may be."""
    narrower = [name for name, minutes in MINUTES.items() if minutes <= MINUTES[wanted.width]]
    values = {"dimension": wanted.dimension, "widths": narrower}
    found = connection.execute(SQL["extent"], values).fetchone() or ()
    instants = [each if isinstance(each, datetime) else _instant_of(each) for each in found if each is not None]
    if not instants:
        return _EPOCH, _EPOCH
    begin = _aligned(min(instants) if wanted.since is None else max(min(instants), wanted.since), wanted.span)
    end = _aligned(max(instants), wanted.span) + wanted.span
    if wanted.until is not None:
        end = min(end, _aligned(wanted.until - timedelta.resolution, wanted.span) + wanted.span)
    return begin, end


def _read(  # noqa: PLR0913 - one per thing that is asked
    connection: Connection[Any],
    wanted: Wanted,
    stretch: tuple[datetime, datetime],
    limit: int,
    after: Place | None,
    *,
    newest_first: bool,
) -> list[tuple[Place, Record]]:
    folded = folding(connection, _question(wanted, stretch))
    keys = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in wanted.by)
    statement = _PAGE.format(
        placed=_PLACED.format(keys=keys, figures=folded.statement),
        after=_ALWAYS if after is None else _AFTER.format(at=after.starts_at, key=list(after.key)),
        direction=sql.SQL("desc" if newest_first else "asc"),
        limit=limit,
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, folded.values, prepare=False).fetchall()
    return [(Place(row["starts_at"], tuple(row["place"])), _record(wanted, figure_of(row, wanted.by))) for row in rows]


def _question(wanted: Wanted, stretch: tuple[datetime, datetime]) -> Question:
    return Question(
        *stretch, wanted.width, wanted.dimension, wanted.by, wanted.only, stored_before=wanted.stored_before
    )


def _record(wanted: Wanted, figure: Figure) -> Record:
    """As `FIELDS` has it."""
    histogram = figure.histogram
    bins: Sequence[int] = sorted(histogram.counts)
    said = {
        "starts_at": figure.starts_at,
        "width": wanted.width,
        "dimension": wanted.dimension,
        **dict.fromkeys(MEMBER.values()),
        **figure.key,
        "unit": UNITS[figure.key["measure"]],
        "events": figure.events,
        "errors": figure.errors,
        "measured": figure.measured,
        "sum": figure.total,
        "min": histogram.least,
        "max": histogram.greatest,
        "last_at": figure.last_at,
        "scale": histogram.scale,
        "bins": bins,
        "counts": [histogram.counts[each] for each in bins],
    }
    return {name: _shown(said[name]) for name in FIELDS}


def _shown(value: object) -> object:
    """As JSON has it: instants and ids as texts, hashes hexadecimal."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, (int, str, list)) else str(value)


def _aligned(instant: datetime, span: timedelta) -> datetime:
    return instant - (instant - _EPOCH) % span


def _instant_of(event_id: Any) -> datetime:  # noqa: ANN401 - UUID
    return from_unix_us(unix_ms_of(event_id.bytes) * 1000)
