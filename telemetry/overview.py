"""What went on: executions, events and errors of some time, counted and spread over it, and how long they took.

From roll-ups where these can tell what is asked for, else from events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import class_row

from telemetry import performance
from telemetry.filters.conditions import conditions
from telemetry.filters.kinds import EARLIEST
from telemetry.filters.syntax import Filter
from telemetry.performance import Performance, percent
from telemetry.query import store_errors
from telemetry.rollups.asked import Slice, slice_of
from telemetry.rollups.parts import MINUTES, Width
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answers, narrowest_kept
from telemetry.sql import queries

SQL = queries(__file__)

#: Stretches that the time asked for is spread over, at most, and another where it does not begin with one: an hour and
#: the rest of a minute, as is usual, are still some of two minutes.
STRETCHES: Final = 31

_MINUTE: Final = timedelta(minutes=1)
#: How long a stretch may be: whole buckets, a whole number of which is the next larger one or a day.
_STEPS: Final[tuple[tuple[int, Width], ...]] = (
    *((number, "minute") for number in (1, 2, 5, 10, 15, 30)),
    *((number, "hour") for number in (1, 2, 3, 6, 12)),
    *((number, "day") for number in (1, 2, 5, 10, 30, 100, 365)),
)
#: What became of executions, by the type of event and its outcome.
_ENDS: Final = ("command.execution.completed", "command.execution.failed", "command.execution.cancelled")
_GROUPED: Final = sql.SQL(
    "select event_type, component, outcome, is_error, starts_at, count(*) as events from ({}) as counted"
    " group by event_type, component, outcome, is_error, starts_at"
)


@dataclass(frozen=True, slots=True)
class Counted:
    """Events that have these in common.

    Attributes:
        event_type: Full name.
        component: Of the type.
        outcome: Or none.
        is_error: Whether they are at level `error`.
        starts_at: When the stretch begins that they are in.
        events: How many.
    """

    event_type: str
    component: str
    outcome: str | None
    is_error: bool
    starts_at: datetime
    events: int


@dataclass(frozen=True, slots=True)
class Stretches:
    """Equal stretches of time, whose bounds are those of buckets: a whole number of them is since 1970, UTC.

    Attributes:
        first: When the first begins, which is partly before the time asked for unless that begins with it.
        every: How many buckets each is.
        width: Of the buckets.
        count: How many there are.
    """

    first: datetime
    every: int
    width: Width
    count: int

    @property
    def step(self) -> timedelta:
        """How long each is."""
        return timedelta(minutes=self.every * MINUTES[self.width])

    def spread_over(self, since: datetime, until: datetime) -> Stretches:
        """As long ones, of another time."""
        first = since - (since - EARLIEST) % self.step
        return replace(self, first=first, count=max(-(-(until - first) // self.step), 1))


@dataclass(frozen=True, slots=True)
class Seen:
    """What went on.

    Attributes:
        counted: Events.
        performance: Of commands and steps, each as a whole too.
        stretches: That events are counted in.
        since: The first instant that it tells of.
    """

    counted: Sequence[Counted]
    performance: Performance
    stretches: Stretches
    since: datetime


def look(connection: Connection[Any], asked: Filter, since: datetime, until: datetime) -> Seen:
    """What the events of a filter tell.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        asked: Names of users and spaces resolved; bounds of time are in it too.
        since: Where the first stretch begins, or after; aware.
        until: Where the last one ends, or before; aware, later.

    Raises:
        StoreTooSlow: It took longer than a statement may.
        StoreUnavailable: Postgres did not answer.
    """
    part = slice_of(asked)
    if part is None:
        stretches = stretches_of(since, until)
        counted = _count_events(connection, asked, stretches)
        return Seen(counted, performance.read(connection, asked, None, "p95", whole=True), stretches, since)
    with store_errors():
        stretches = stretches_of(since, until, narrowest_kept(connection, since))
        # Only what the open minute has is looked at event by event, and once for both.
        counts, times = answers(connection, (_question(part, stretches), performance.question(part, None)))
    found = performance.timed(times.figures, None, "p95")
    moved = counts.since != part.since
    return Seen(
        list(chain.from_iterable(map(_counted, counts.figures))),
        replace(found, since=counts.since if moved else None),
        stretches.spread_over(counts.since, until) if moved else stretches,
        counts.since if moved else since,
    )


def stretches_of(since: datetime, until: datetime, narrowest: Width = "minute") -> Stretches:
    """The shortest stretches, none of buckets narrower than that, of which few enough are this time."""
    for every, width in _STEPS:
        step = timedelta(minutes=every * MINUTES[width])
        if (until - since <= STRETCHES * step and MINUTES[width] >= MINUTES[narrowest]) or (every, width) == _STEPS[-1]:
            break
    return Stretches(since, every, width, 1).spread_over(since, until)


def _question(part: Slice, stretches: Stretches) -> Question:
    return Question(
        part.since,
        part.until,
        stretches.width,
        by=("event_type", "outcome"),
        only={"measure": ["duration"]},
        spread=False,
        every=stretches.every,
        is_exact=True,
        where=part.where,
    )


def _counted(figure: Figure) -> Iterable[Counted]:
    """Errors of a figure, and the others."""
    assert figure.starts_at is not None  # noqa: S101 - it was asked for
    event_type, outcome = figure.key["event_type"], figure.key["outcome"]
    for is_error, events in ((True, figure.errors), (False, figure.events - figure.errors)):
        if events:
            yield Counted(event_type, event_type.partition(".")[0], outcome, is_error, figure.starts_at, events)


def _count_events(connection: Connection[Any], asked: Filter, stretches: Stretches) -> list[Counted]:
    wanted = conditions(asked)
    statement = _GROUPED.format(sql.SQL(SQL["select_counted"]) + wanted.where())
    with store_errors(), connection.cursor(row_factory=class_row(Counted)) as cursor:
        return cursor.execute(statement, {**wanted.values, "step": stretches.step}).fetchall()


def counts_json(seen: Seen, until: datetime) -> dict[str, Any]:
    """The JSON of what was counted: executions, components with the most events first, and how all that is spread.

    Args:
        seen: What went on.
        until: The end of it.
    """
    found, stretches = seen.counted, seen.stretches
    minutes = max((until - seen.since) / _MINUTE, 1e-6)
    ended = [each for each in found if each.event_type in _ENDS]
    return {
        "minutes": round(minutes, 3),
        "events": _sum(found),
        "errors": _sum(each for each in found if each.is_error),
        "executions": _executions(found, minutes),
        "components": _components(found, minutes),
        "spread": {
            "start": stretches.first,
            "step_s": stretches.step // timedelta(seconds=1),
            "executions": _spread(stretches, ended),
            "failures": _spread(stretches, (each for each in ended if each.event_type == "command.execution.failed")),
            "events": _spread(stretches, found),
            "errors": _spread(stretches, (each for each in found if each.is_error)),
        },
    }


def _executions(found: Sequence[Counted], minutes: float) -> dict[str, Any]:
    types: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for each in found:
        types[each.event_type] += each.events
        if each.event_type in _ENDS:
            outcomes[each.outcome or "none"] += each.events
    succeeded = types["command.execution.completed"]
    failed = types["command.execution.failed"]
    ended = sum(types[name] for name in _ENDS)
    return {
        "queued": types["command.execution.queued"],
        "started": types["command.execution.started"],
        "retried": types["command.execution.retried"],
        "refused": types["command.validation.failed"],
        "ended": ended,
        "succeeded": succeeded,
        "failed": failed,
        "cancelled": types["command.execution.cancelled"],
        "outcomes": dict(sorted(outcomes.items())),
        "success_percent": percent(succeeded, succeeded + failed),
        "per_minute": round(ended / minutes, 3),
    }


def _components(found: Iterable[Counted], minutes: float) -> list[dict[str, Any]]:
    events: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for each in found:
        events[each.component] += each.events
        errors[each.component] += each.events * each.is_error
    return [
        {
            "component": name,
            "events": count,
            "errors": errors[name],
            "error_percent": percent(errors[name], count),
            "per_minute": round(count / minutes, 3),
        }
        for name, count in sorted(events.items(), key=lambda item: (-item[1], item[0]))
    ]


def _sum(found: Iterable[Counted]) -> int:
    return sum(each.events for each in found)


def _spread(stretches: Stretches, found: Iterable[Counted]) -> list[int]:
    """How many each of the stretches has; what lies at the very end is of the last one."""
    counts = [0] * stretches.count
    for each in found:
        number = (each.starts_at - stretches.first) // stretches.step
        counts[min(max(number, 0), stretches.count - 1)] += each.events
    return counts
