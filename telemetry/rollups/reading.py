"""Answers from buckets, and from events where no clean bucket is: the same as from events alone, at every moment.

All of it is read in one view of the database. What is dirty is what that view has of batches that were not taken in
when a bucket was made, so a bucket is used only if all that is visible of its time is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import dict_row

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.ids import least_id_at
from telemetry.rollups.coverage import NEVER, Coverage, Known, Stretch, cover, snapped, within
from telemetry.rollups.histogram import FINEST, Histogram
from telemetry.rollups.parts import MINUTES, Dimension, Width, folded, of_buckets, of_events, without_bins
from telemetry.sql import queries

SQL = queries(__file__)

_MINUTE_US: Final = 60_000_000
_MINUTE: Final = timedelta(minutes=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OR, _AND, _EITHER = sql.SQL(" or "), sql.SQL(" and "), sql.SQL(" union all ")
_NOTHING: Final = sql.SQL("false")
_ALWAYS: Final = sql.SQL("true")
_ALL_CLEAN: Final[Mapping[Width, Sequence[Stretch]]] = {"minute": (), "hour": (), "day": ()}

_IN_IDS: Final = sql.SQL("(e.event_id >= {} and e.event_id < {})")
_IN_TIME: Final = sql.SQL("(b.starts_at >= {} and b.starts_at < {})")
_OF_WIDTH: Final = sql.SQL("b.dimension = {} and b.width = {} and {} and ({})")
_ANY_OF: Final = sql.SQL("{} = any({})")
#: Events of transactions that had ended at a position (`telemetry.query.stored_before`).
_STORED_BEFORE: Final = sql.SQL("age(e.xmin) not between 0 and age({}::text::xid8::xid)")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of buckets.

    Attributes:
        since: The first instant; moved to the beginning of its minute, or of the narrowest bucket that is still kept.
        until: The end, not included; moved likewise.
        width: Of the buckets of the answer; none for one that is all of the time.
        dimension: What may be told apart beside what all buckets do.
        by: What is told apart: `component`, `event_type`, `outcome`, `error_category`, `measure`, and the dimension's
            own: `operation`, `space_id` or `user_id`.
        only: Values by the same names: others are left out.
        spread: Whether quantiles are wanted; without them it is several times as fast.
        stored_before: Only what was stored before this position (`telemetry.query.position`), whenever it is asked.
    """

    since: datetime
    until: datetime
    width: Width | None = None
    dimension: Dimension = "operation"
    by: tuple[str, ...] = ()
    only: Mapping[str, Collection[Any]] = field(default_factory=dict)
    spread: bool = True
    stored_before: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """What the events of a time add up to.

    Attributes:
        starts_at: Of its bucket; none if it is of all of the time.
        key: What is told apart, by name.
        events: How many, for this measure.
        errors: How many of them were errors.
        measured: How many of them have a value.
        total: Sum of the values.
        histogram: Of the values; without any bins if those were not asked for.
    """

    starts_at: datetime | None
    key: dict[str, Any]
    events: int
    errors: int
    measured: int
    total: int
    histogram: Histogram

    @property
    def average(self) -> float | None:
        """Of the values; none without any."""
        return self.total / self.measured if self.measured else None


@dataclass(frozen=True, slots=True)
class Answer:
    """Figures, and of when they are.

    Attributes:
        since: The first instant that they tell of.
        until: The end, not included.
        figures: In the order of their buckets; those without events are left out.
    """

    since: datetime
    until: datetime
    figures: Sequence[Figure]


class Folding(NamedTuple):
    """The statement that an answer is read by.

    Attributes:
        since: The first instant that it tells of.
        until: The end, not included.
        statement: Gives the rows that `figure_of` reads; not to be prepared, for it is of these stretches of time.
        values: Of its parameters.
    """

    since: datetime
    until: datetime
    statement: sql.Composed
    values: dict[str, Any]


def answer(connection: Connection[Any], question: Question) -> Answer:
    """The answer, in the view of the connection's transaction (`telemetry.reading`).

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    found = folding(connection, question)
    with connection.cursor(row_factory=dict_row) as cursor:
        # Planned for the stretches that are asked for: a plan for all of them would look into every partition.
        rows = cursor.execute(found.statement, found.values, prepare=False).fetchall()
    figures = [figure_of(row, question.by) for row in rows if row["events"]]
    figures.sort(key=lambda figure: (figure.starts_at or _EPOCH, [str(value) for value in figure.key.values()]))
    return Answer(found.since, found.until, figures)


def folding(connection: Connection[Any], question: Question) -> Folding:
    """How to read an answer, in the view of the connection's transaction. Raises as `answer`."""
    known, sealed = what_is_known(connection, question.dimension, question.stored_before)
    widest = question.width or "day"
    wanted = snapped(_minutes(question), known, widest)
    coverage = cover([wanted], known, widest)
    sources = _Sources(question.dimension)
    sources.read_buckets(coverage)
    for component, day in sealed:
        # Its events of that day are gone; what is dirty there is so for those of others.
        gone = within(coverage.events, day)
        sources.leave_out(component, gone)
        sources.read_buckets(cover(gone, Known(_ALL_CLEAN, known.kept_from), widest), component)
    sources.read_events(coverage.events, question.stored_before)
    statement, values = _folding(question, sources.parts(spread=question.spread))
    return Folding(_instant(wanted[0]), _instant(wanted[1]), statement, values)


def what_is_known(
    connection: Connection[Any], dimension: Dimension, stored_before: int | None = None
) -> tuple[Known, list[tuple[str, Stretch]]]:
    """What there is of the buckets of a dimension; and components whose events of a day are gone.

    Args:
        connection: In a transaction with one view.
        dimension: Of which buckets.
        stored_before: A position: buckets that have anything that was stored since are dirty.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    position = None if stored_before is None else str(stored_before)
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["known"], {"stored_before": position}).fetchone()
    if row is None:
        raise LookupError("telemetry_rollup_progress has no row")
    is_whole = dimension == "operation"
    minutes = _stretches(row["minutes"])
    hours = _joined(minutes, 60, _stretches(row["hours" if is_whole else "member_hours"], 60))
    days = _joined(hours, 1440, _stretches(row["days"], 1440))
    known = Known(
        dirty={"minute": minutes, "hour": hours, "day": days},
        kept_from={"minute": row["minutes_from"] if is_whole else NEVER, "hour": row["hours_from"] * 60, "day": 0},
        sealed=_stretches(row["sealed"]),
    )
    return known, [(component, (first, first + 1440)) for first, component in row["components"]]


class _Sources:
    """Gathers where the parts of an answer come from."""

    def __init__(self, dimension: Dimension) -> None:
        self._dimension = dimension
        self._left_out: list[sql.Composed] = []
        self._events: sql.Composable = _NOTHING
        self._buckets: list[sql.Composed] = []

    def read_buckets(self, coverage: Coverage, component: str | None = None) -> None:
        """Read the buckets of a coverage, of one component only if one is named."""
        of_component = sql.SQL("b.component = {}").format(component) if component is not None else _ALWAYS
        for width, stretches in coverage.buckets.items():
            instants = [tuple(map(_instant, stretch)) for stretch in stretches]
            in_time = _OR.join(_IN_TIME.format(*each) for each in instants)
            self._buckets.append(_OF_WIDTH.format(self._dimension, width, of_component, in_time))

    def leave_out(self, component: str, stretches: Sequence[Stretch]) -> None:
        """Read no events of a component within these stretches."""
        if stretches:
            self._left_out.append(sql.SQL("not (e.component = {} and ({}))").format(component, _in_ids(stretches)))

    def read_events(self, stretches: Sequence[Stretch], stored_before: int | None) -> None:
        """Read the events of these stretches, but for those left out, and those that were stored later."""
        if stretches:
            stored = [] if stored_before is None else [_STORED_BEFORE.format(str(stored_before))]
            self._events = _AND.join([sql.SQL("({})").format(_in_ids(stretches)), *self._left_out, *stored])

    def parts(self, *, spread: bool) -> sql.Composed:
        """The parts of all of it, with their bins or without."""
        events = of_events(self._events)
        buckets = (of_buckets(where, spread=spread) for where in self._buckets)
        return _EITHER.join([events if spread else without_bins(events), *buckets])


def _folding(question: Question, parts: sql.Composable) -> tuple[sql.Composed, dict[str, Any]]:
    asked = {name: list(values) for name, values in question.only.items()}
    conditions = [_ANY_OF.format(sql.Identifier(name), sql.Placeholder(name)) for name in asked]
    chosen = sql.SQL("select * from ({}) as either where {}").format(parts, _AND.join([*conditions, _ALWAYS]))
    keys = (*(("starts_at",) if question.width else ()), *question.by)
    return folded(chosen, keys), {**asked, "width": MINUTES[question.width or "day"] * _MINUTE}


def figure_of(row: Mapping[str, Any], by: Iterable[str]) -> Figure:
    """The figure that a row of an answer tells.

    Args:
        row: As the statement of `Folding` gives it.
        by: What is told apart.
    """
    return Figure(
        row.get("starts_at"),
        {name: row[name] for name in by},
        row["events"],
        row["errors"],
        row["measured"],
        row["total"],
        _histogram(row),
    )


def _histogram(row: Mapping[str, Any]) -> Histogram:
    """Of bins that may be of several scales."""
    merged = Histogram(max(row["scales"], default=FINEST), {}, row["least"], row["greatest"])
    for scale in sorted(set(row["scales"]), reverse=True):
        bins = zip(row["scales"], row["bins"], row["counts"], strict=True)
        merged = merged.merged(Histogram(scale, {bin_: count for each, bin_, count in bins if each == scale}))
    return merged


def _minutes(question: Question) -> Stretch:
    first = to_unix_us(question.since) // _MINUTE_US
    return first, max(-(-to_unix_us(question.until) // _MINUTE_US), first)


def _instant(minute: int) -> datetime:
    return from_unix_us(minute * _MINUTE_US)


def _in_ids(stretches: Iterable[Stretch]) -> sql.Composed:
    bounds = ([least_id_at(minute * _MINUTE_US) for minute in stretch] for stretch in stretches)
    return _OR.join(_IN_IDS.format(*each) for each in bounds)


def _stretches(multirange: Iterable[Any], minutes: int = 1) -> list[Stretch]:
    return [(piece.lower * minutes, piece.upper * minutes) for piece in multirange]


def _joined(narrower: Sequence[Stretch], step: int, own: Sequence[Stretch]) -> list[Stretch]:
    """The whole steps that something narrower of is dirty, and the steps' own."""
    widened = [(first // step * step, -(-end // step) * step) for first, end in narrower]
    joined: list[Stretch] = []
    for first, end in sorted([*widened, *own]):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined
