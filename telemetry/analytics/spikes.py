"""Errors that are more than usual: which, since when, and than what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from psycopg import Connection

from telemetry.analytics import history
from telemetry.analytics.baseline import Verdict, judge, level
from telemetry.analytics.groups import SOURCES, By
from telemetry.analytics.history import HOUR, MOST_DAYS, SLOT, Known, floor
from telemetry.clock import from_unix_us, to_unix_us
from telemetry.events import CATALOGUE, event_type
from telemetry.rollups.metrics import WITHOUT_ERROR, Asked, question
from telemetry.rollups.parts import Width
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer, what_is_known
from telemetry.settings import format_duration

#: What errors can be told apart by.
SpikesBy = Literal["command", "step", "component", "category"]
#: Errors by name and by the beginning of their hour, or five minutes.
Series: TypeAlias = dict[str, dict[datetime, int]]

#: Up to how long a time is looked at by five minutes, unless it is said.
FINE_UP_TO: Final = timedelta(hours=6)
#: The longest time that is looked at.
AT_MOST: Final = timedelta(days=31)

_DAY: Final = timedelta(days=1)
_UTC: Final = ZoneInfo("UTC")
_MINUTE_US: Final = 60_000_000
_ERRORS: Final = tuple(event_type(cls) for cls in CATALOGUE if cls.level == "error")
_NAMED: Final[Mapping[SpikesBy, By]] = {"command": "command", "step": "step"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to know.

    Attributes:
        by: What is told apart.
        since: The first instant.
        until: The end, not included; not later than now.
        step: Of what length each count is: `HOUR` or `SLOT`; chosen by the time that is asked for, if none.
        name: Only of what is called so.
        zone: Whose times of day are the same.
    """

    by: SpikesBy
    since: datetime
    until: datetime
    step: timedelta | None = None
    name: str | None = None
    zone: ZoneInfo = _UTC


class Judged(NamedTuple):
    """A stretch of time in which there were too many."""

    starts_at: datetime
    errors: int
    verdict: Verdict


class Spike(NamedTuple):
    """Stretches in a row in which there were too many errors of something."""

    name: str
    stretches: Sequence[Judged]


def report(connection: Connection[Any], wanted: Wanted) -> dict[str, Any]:
    """The answer, as JSON: what is not over yet first, then the latest.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        wanted: Question.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    step = _step(connection, wanted)
    known = _known(connection, wanted)
    hours = _errors(connection, wanted, floor(wanted.since, HOUR) - (MOST_DAYS + 1) * _DAY, HOUR)
    slots = hours if step == HOUR else _errors(connection, wanted, floor(wanted.since, HOUR) - 3 * _DAY, SLOT)
    threshold = level(_DAY / step, len(hours))
    chosen = [name for name in hours if wanted.name in (None, name)]
    judge_one = _Judge(wanted, step, known, threshold)
    found = [spike for name in chosen for spike in judge_one.spikes(name, hours[name], slots.get(name, {}))]
    found.sort(key=lambda spike: (spike.stretches[-1].starts_at, spike.stretches[0].starts_at), reverse=True)
    events = _events(connection, wanted, step, found)
    return {
        "start": wanted.since,
        "end": wanted.until,
        "by": wanted.by,
        "bucket": format_duration(step),
        "series": len(hours),
        "level": threshold,
        "known_since": known.since,
        "items": [_spike_json(spike, step, events, wanted.until) for spike in found],
    }


class _Judge:
    """Finds what stands out in the time that is asked for."""

    def __init__(self, wanted: Wanted, step: timedelta, known: Known, threshold: float) -> None:
        self._wanted, self._step, self._known, self._threshold = wanted, step, known, threshold

    def spikes(self, name: str, hours: history.Counts, slots: history.Counts) -> Iterator[Spike]:
        """The spikes of one series, oldest first."""
        run: list[Judged] = []
        for start in self._starts():
            count = (hours if self._step == HOUR else slots).get(start, 0)
            verdict = self._verdict(start, count, hours, slots) if count else None
            if verdict is not None and verdict.is_spike:
                run.append(Judged(start, count, verdict))
            elif run:
                yield Spike(name, run)
                run = []
        if run:
            yield Spike(name, run)

    def _starts(self) -> Iterator[datetime]:
        start = floor(self._wanted.since, self._step)
        while start < self._wanted.until:
            yield start
            start += self._step

    def _verdict(self, start: datetime, count: int, hours: history.Counts, slots: history.Counts) -> Verdict | None:
        if self._step == HOUR:
            baselines = history.of_hour(start, hours, self._known, self._wanted.zone)
        else:
            baselines = history.of_slot(start, hours, slots, self._known, self._wanted.zone)
        return judge(count, baselines, self._threshold)


def _step(connection: Connection[Any], wanted: Wanted) -> timedelta:
    """Five minutes only where minutes, or events, are kept that tell them apart."""
    step = wanted.step or (SLOT if wanted.until - wanted.since <= FINE_UP_TO else HOUR)
    kept_from = what_is_known(connection, "operation")[0].kept_from["minute"]
    first = to_unix_us(wanted.since - history.DAYS_OF_SLOTS * _DAY) // _MINUTE_US
    return step if first >= kept_from else HOUR


def _known(connection: Connection[Any], wanted: Wanted) -> Known:
    """Of when anything is known: days with events of any kind, and the hour in which the first of them begin."""
    since = floor(wanted.since, _DAY) - (MOST_DAYS + 1) * _DAY
    days = _alive(connection, since, wanted.until, "day")
    if not days:
        return Known(None, frozenset())
    first = _alive(connection, days[0], days[0] + _DAY, "hour")
    # Before that only whole days are kept, which say nothing of an hour.
    kept_from = from_unix_us(what_is_known(connection, "operation")[0].kept_from["hour"] * _MINUTE_US)
    return Known(max(kept_from, first[0]), frozenset(day.date() for day in days)) if first else Known(None, ())


def _alive(connection: Connection[Any], since: datetime, until: datetime, width: Width) -> list[datetime]:
    asking = Question(since, until, width, only={"measure": ["duration"]}, spread=False)
    starts = {figure.starts_at for figure in answer(connection, asking).figures if figure.starts_at is not None}
    return sorted(start.astimezone(UTC) for start in starts)


def _errors(connection: Connection[Any], wanted: Wanted, since: datetime, step: timedelta) -> Series:
    """Errors of each series; what had none in a stretch of time has no count there."""
    plain = question(Asked(since, wanted.until), "hour" if step == HOUR else "minute", _keys(wanted.by))
    types = [name for name in _ERRORS if name in _types(wanted.by)]
    only = {**plain.only, "event_type": types, "measure": ["duration"]}
    series: Series = {}
    for figure in answer(connection, replace(plain, only=only, spread=False)).figures:
        if figure.errors and figure.starts_at is not None:
            counts = series.setdefault(_name(figure, wanted.by), {})
            start = floor(figure.starts_at.astimezone(UTC), step)
            counts[start] = counts.get(start, 0) + figure.errors
    return series


def _events(
    connection: Connection[Any], wanted: Wanted, step: timedelta, found: Sequence[Spike]
) -> Mapping[tuple[str, datetime], int] | None:
    """How many events there were where errors stand out; of categories it makes no sense."""
    if not found or wanted.by == "category":
        return None
    first = min(spike.stretches[0].starts_at for spike in found)
    plain = question(Asked(first, wanted.until), "hour" if step == HOUR else "minute", _keys(wanted.by))
    only = {**plain.only, "measure": ["duration"], "event_type": _types(wanted.by)}
    only[_keys(wanted.by)[0]] = sorted({spike.name for spike in found})
    events: dict[tuple[str, datetime], int] = {}
    for figure in answer(connection, replace(plain, only=only, spread=False)).figures:
        if figure.starts_at is not None:
            key = _name(figure, wanted.by), floor(figure.starts_at.astimezone(UTC), step)
            events[key] = events.get(key, 0) + figure.events
    return events


def _types(by: SpikesBy) -> list[str]:
    """Types of events that are told apart by this."""
    named = _NAMED.get(by)
    if named is None:
        return [event_type(cls) for cls in CATALOGUE]
    return [name for source in SOURCES[named] for name in source.types]


def _keys(by: SpikesBy) -> tuple[str, ...]:
    if by == "category":
        return ("error_category", "outcome")
    return ("component",) if by == "component" else ("operation",)


def _name(figure: Figure, by: SpikesBy) -> str:
    if by == "category":
        return figure.key["error_category"] or WITHOUT_ERROR.get(figure.key["outcome"], "internal")
    return str(figure.key["component" if by == "component" else "operation"])


def _spike_json(
    spike: Spike, step: timedelta, events: Mapping[tuple[str, datetime], int] | None, until: datetime
) -> dict[str, Any]:
    stretches = spike.stretches
    count, expected = sum(each.errors for each in stretches), sum(each.verdict.expected for each in stretches)
    peak = max(stretches, key=lambda each: each.errors)
    total = None if events is None else sum(events.get((spike.name, each.starts_at), 0) for each in stretches)
    return {
        "name": spike.name,
        "start": stretches[0].starts_at,
        "end": stretches[-1].starts_at + step,
        "is_open": stretches[-1].starts_at + 2 * step >= until,
        "count": count,
        "expected": round(expected, 3),
        "ratio": round(count / expected, 2),
        "events": total,
        "error_percent": round(100 * count / total, 3) if total else None,
        "p_value": float(f"{min(each.verdict.p_value for each in stretches):.3g}"),
        "baseline": peak.verdict.baseline,
        "peak": {"start": peak.starts_at, "count": peak.errors, "expected": round(peak.verdict.expected, 3)},
    }
