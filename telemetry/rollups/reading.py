"""Answers from buckets, and from events where no clean bucket is: the same as from events alone, at every moment.

All of it is read in one view of the database. What is dirty is what that view has of batches that were not taken in
when a bucket was made, so a bucket is used only if all that is visible of its time is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import dict_row

from telemetry.clock import from_unix_us, to_unix_us
from telemetry.rollups.coverage import NEVER, Known, Stretch, cover, snapped, within
from telemetry.rollups.histogram import Histogram
from telemetry.rollups.parts import Dimension, Width
from telemetry.rollups.question import Question
from telemetry.rollups.sources import Sources
from telemetry.rollups.statements import statement_of
from telemetry.sql import queries

SQL = queries(__file__)

_MINUTE_US: Final = 60_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALL_CLEAN: Final[Mapping[Width, Sequence[Stretch]]] = {"minute": (), "hour": (), "day": ()}


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
        last_at: When the last of the events occurred.
    """

    starts_at: datetime | None
    key: dict[str, Any]
    events: int
    errors: int
    measured: int
    total: int
    histogram: Histogram
    last_at: datetime

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
    return answers(connection, (question,))[0]


def answers(connection: Connection[Any], questions: Sequence[Question]) -> list[Answer]:
    """The answers to several questions: what no bucket tells is looked at once for all of them, where that can be.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        questions: Of the same time, position, dimension and `where`; with a width, at most one of them.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    known, sealed = what_is_known(connection, questions[0].dimension, questions[0].stored_before)
    found = [_sources(question, known, sealed) for question in questions]
    told: list[list[Figure]] = []
    with _close_at_hand(connection):
        if all(sources.has_events_of(found[0][0]) for sources, _, _ in found):
            told.extend(_figures(connection, questions, [sources for sources, _, _ in found]))
        else:
            for question, (sources, _, _) in zip(questions, found, strict=True):
                told.extend(_figures(connection, [question], [sources]))
    return [Answer(since, until, figures) for (_, since, until), figures in zip(found, told, strict=True)]


def folding(connection: Connection[Any], question: Question) -> Folding:
    """How to read the answer to a question with a width, in the view of the connection's transaction.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    known, sealed = what_is_known(connection, question.dimension, question.stored_before)
    sources, since, until = _sources(question, known, sealed)
    return Folding(since, until, *statement_of([question], [sources]))


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
    if is_whole:
        hours = _joined(minutes, 60, _stretches(row["hours"], 60))
    else:
        hours = _joined([*minutes, *_stretches(row["member_minutes"])], 60, ())
    days = _joined(hours, 1440, _stretches(row["days"], 1440))
    known = Known(
        dirty={"minute": minutes, "hour": hours, "day": days},
        kept_from={"minute": row["minutes_from"] if is_whole else NEVER, "hour": row["hours_from"] * 60, "day": 0},
        sealed=_stretches(row["sealed"]),
    )
    return known, [(component, (first, first + 1440)) for first, component in row["components"]]


def narrowest_kept(connection: Connection[Any], since: datetime) -> Width:
    """The width of the narrowest buckets that are kept from an instant on.

    Raises:
        psycopg.Error: Postgres did not answer.
    """
    found = connection.execute(SQL["kept"]).fetchone()
    minutes_from, hours_from = found if found else (0, 0)
    minute = to_unix_us(since) // _MINUTE_US
    if minute >= minutes_from:
        return "minute"
    return "hour" if minute >= hours_from * 60 else "day"


def _sources(
    question: Question, known: Known, sealed: Sequence[tuple[str, Stretch]]
) -> tuple[Sources, datetime, datetime]:
    """Where the parts of an answer come from, and what it is of."""
    widest = question.width or "day"
    sources = Sources(question.dimension, question.stored_before)
    gone = [*known.sealed, *(day for _, day in sealed)]
    first_us, end_us = to_unix_us(question.since), max(to_unix_us(question.until), to_unix_us(question.since))
    if not question.is_exact:
        first_us, end_us = first_us // _MINUTE_US * _MINUTE_US, -(-end_us // _MINUTE_US) * _MINUTE_US
    outer = first_us // _MINUTE_US, -(-end_us // _MINUTE_US)
    moved = snapped(outer, replace(known, sealed=gone), widest)
    if _is_within(outer[0], gone):
        first_us = moved[0] * _MINUTE_US
    if _is_within(outer[1] - 1, gone):
        end_us = moved[1] * _MINUTE_US
    # The minutes that it is only partly of are told by their events.
    whole = -(-first_us // _MINUTE_US), end_us // _MINUTE_US
    if whole[0] > whole[1]:
        sources.read_between(first_us, end_us)
    else:
        sources.read_between(first_us, whole[0] * _MINUTE_US)
        sources.read_between(whole[1] * _MINUTE_US, end_us)
    coverage = cover([whole] if whole[0] < whole[1] else [], known, widest)
    sources.read_buckets(coverage)
    for component, day in sealed:
        # Its events of that day are gone; what is dirty there is so for those of others.
        lost = within(coverage.events, day)
        sources.leave_out(component, lost)
        sources.read_buckets(cover(lost, Known(_ALL_CLEAN, known.kept_from), widest), component)
    sources.read_events(coverage.events)
    return sources, from_unix_us(first_us), from_unix_us(end_us)


def _is_within(minute: int, stretches: Iterable[Stretch]) -> bool:
    return any(first <= minute < end for first, end in stretches)


@contextmanager
def _close_at_hand(connection: Connection[Any]) -> Iterator[None]:
    """Have Postgres look up buckets by their index: what is asked for lies together, and is in memory.

    It reckons with a disk that seeks, and would go through the whole table, which grows with the time that is kept. Nor
    is it worth the milliseconds that workers take to start, but where many events are looked at. Those it would sort,
    for it thinks that they have as many groups as there are events.
    """
    before = connection.cursor(row_factory=dict_row).execute(SQL["reckon_with_memory"]).fetchone()
    yield
    connection.execute(SQL["reckon_as_before"], before)


def _figures(
    connection: Connection[Any], questions: Sequence[Question], sources: Sequence[Sources]
) -> list[list[Figure]]:
    statement, values = statement_of(questions, sources)
    told: list[dict[tuple[Any, ...], _Gathered]] = [{} for _ in questions]
    keys = [(*(("starts_at",) if question.width else ()), *question.by) for question in questions]
    # Binary: most of it is arrays of numbers.
    with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        # Planned for the stretches that are asked for: a plan for all of them would look into every partition.
        for row in cursor.execute(statement, values, prepare=False):
            number = row["number"]
            told[number].setdefault(tuple([row[name] for name in keys[number]]), _Gathered()).take(row)
    return [
        _in_order(found.figure(question.by) for found in of_question.values() if found.row.get("events"))
        for question, of_question in zip(questions, told, strict=True)
    ]


def figure_of(row: Mapping[str, Any], by: Iterable[str]) -> Figure:
    """The figure that a row of an answer tells.

    Args:
        row: As the statement of `Folding` gives it.
        by: What is told apart.
    """
    found = _Gathered()
    found.take(row)
    return found.figure(by)


def _in_order(figures: Iterable[Figure]) -> list[Figure]:
    return sorted(
        figures, key=lambda figure: (figure.starts_at or _EPOCH, [str(value) for value in figure.key.values()])
    )


class _Gathered:
    """Rows of the same key: one has the figures, others have bins."""

    def __init__(self) -> None:
        self.row: Mapping[str, Any] = {}
        self._counts: dict[int, dict[int, int]] = {}

    def take(self, row: Mapping[str, Any]) -> None:
        """Add what a row has."""
        if row["events"] is not None:
            self.row = row
        scales, bins = row["scales"], row["bins"]
        if len(scales) == 1:
            # One for all of them: nearly always so.
            counts = self._counts.setdefault(scales[0], {})
            known = counts.get
            for number, count in zip(bins, row["counts"], strict=True):
                counts[number] = known(number, 0) + count
            return
        for scale, number, count in zip(scales, bins, row["counts"], strict=True):
            of_scale = self._counts.setdefault(scale, {})
            of_scale[number] = of_scale.get(number, 0) + count

    def figure(self, by: Iterable[str]) -> Figure:
        """What they say together."""
        row = self.row
        histogram = Histogram.total(Histogram(scale, counts) for scale, counts in self._counts.items())
        return Figure(
            row.get("starts_at"),
            {name: row[name] for name in by},
            row["events"],
            row["errors"],
            row["measured"],
            row["total"],
            replace(histogram, least=row["least"], greatest=row["greatest"]),
            row["last_at"],
        )


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
