"""Statistics of commands, steps, tools, models, users, spaces or components, and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection

from telemetry.analytics import trends
from telemetry.analytics.figures import FIGURES, Figure, bucket_of, merged, statistics
from telemetry.analytics.groups import Group, Member, Which, asked, grouped, told
from telemetry.analytics.history import floor
from telemetry.clock import to_unix_us
from telemetry.rollups.parts import MEMBER, MINUTES, Dimension, Width
from telemetry.rollups.reading import what_is_known
from telemetry.settings import format_duration

#: Figures whose way is told unless others are asked for.
USUAL: Final = ("request_rate", "error_rate", "total_latency")
#: Lines of one answer, at most.
MAX_LINES: Final = 100

_DAY: Final = timedelta(days=1)
_MINUTE_US: Final = 60_000_000
#: How long the stretches are whose values make a trend; the shortest of which there are no more than so many.
_STEPS: Final = tuple(timedelta(minutes=count) for count in (1, 5, 15, 60, 360, 1440, 10_080))
_MOST: Final = 31
#: Days from which on values of the same time of day are compared, and values of the same weekday.
_DAILY_FROM, _WEEKLY_FROM = 3, 21


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to know.

    Attributes:
        which: Of what.
        since: The first instant; a whole minute.
        until: The end, not included; a whole minute, later.
        figures: Whose way is told; names of `FIGURES`.
        order: Name of the figure that lines with the most of come first, or `name`.
        limit: Lines, at most.
    """

    which: Which
    since: datetime
    until: datetime
    figures: tuple[str, ...] = USUAL
    order: str = "request_rate"
    limit: int = 20

    @property
    def before(self) -> datetime:
        """When the time as long begins that it is compared with."""
        return self.since - (self.until - self.since)


class Stretches(NamedTuple):
    """Stretches of time, one after the other, all of them whole.

    Attributes:
        starts: When each begins.
        step: How long they are.
        rhythm: After how many everything comes again.
        width: Of the buckets that they are made of.
    """

    starts: list[datetime]
    step: timedelta
    rhythm: int
    width: Width


def report(connection: Connection[Any], wanted: Asked) -> dict[str, Any]:
    """The answer, as JSON.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        wanted: Question.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    figures = [FIGURES[name] for name in wanted.figures]
    by = ("outcome", "error_category", "measure")
    groups = grouped(told(connection, wanted.which, asked(wanted.which, wanted.since, wanted.until, None, by)))
    past = asked(wanted.which, wanted.before, wanted.since, None, by)
    before = grouped(told(connection, wanted.which, replace(past, spread=_have_quantiles(figures))))
    shown = _ordered(groups, wanted)[: wanted.limit]
    stretches = _stretches(connection, wanted, past.dimension)
    series = _series(connection, wanted, stretches, figures, [] if len(shown) == len(groups) else shown)
    whole, whole_before = merged(groups), merged(before)
    return {
        "start": wanted.since,
        "end": wanted.until,
        "previous_start": wanted.before,
        "by": wanted.which.by,
        "order": wanted.order,
        "trend_bucket": format_duration(stretches.step),
        "members": len(groups),
        "all": statistics(whole, whole, wanted.since, wanted.until)
        | {"changes": {each.name: _change(each, whole, whole_before, wanted) for each in figures}},
        "items": [
            {"component": member.component, "name": member.name}
            | statistics(groups[member], whole, wanted.since, wanted.until)
            | {
                "trends": {
                    each.name: _change(each, groups[member], before.get(member, Group()), wanted)
                    | _trend(each, series.get(member, {}), stretches)
                    for each in figures
                }
            }
            for member in shown
        ],
    }


def _have_quantiles(figures: Iterable[Figure]) -> bool:
    return any(figure.has_quantiles for figure in figures)


def _ordered(groups: Mapping[Member, Group], wanted: Asked) -> list[Member]:
    named = sorted(groups, key=lambda member: (member.name or "", member.component or ""))
    if wanted.order == "name":
        return named
    figure = FIGURES[wanted.order]

    def most_first(member: Member) -> tuple[bool, float]:
        value = figure.value(bucket_of(groups[member], wanted.since, wanted.until))
        return value is None, -(value or 0)

    return sorted(named, key=most_first)


def _change(figure: Figure, group: Group, before: Group, wanted: Asked) -> dict[str, Any]:
    """The value, that of the time before, and by how much it has changed."""
    value = figure.value(bucket_of(group, wanted.since, wanted.until))
    previous = figure.value(bucket_of(before, wanted.before, wanted.since))
    percent = None if value is None or not previous else round(100 * (value - previous) / previous, 3)
    return {"unit": figure.unit, "value": value, "previous": previous, "change_percent": percent}


def _trend(figure: Figure, series: Mapping[datetime, Group], stretches: Stretches) -> dict[str, Any]:
    step, nothing = stretches.step, Group()
    groups = [series.get(start, nothing) for start in stretches.starts]
    values = [
        figure.value(bucket_of(group, start, start + step))
        for group, start in zip(groups, stretches.starts, strict=True)
    ]
    found = trends.trend(values, sum(map(figure.events, groups)), stretches.rhythm)
    return {
        "direction": found.direction,
        "slope": None if found.slope is None else round(found.slope, 6),
        "p_value": None if found.p_value is None else float(f"{found.p_value:.4g}"),
        "values": found.values,
    }


def _stretches(connection: Connection[Any], wanted: Asked, dimension: Dimension) -> Stretches:
    """What a trend is made of: so long that there are few, and not shorter than what is kept of that time."""
    length = wanted.until - wanted.since
    kept_from = what_is_known(connection, dimension)[0].kept_from
    first = to_unix_us(wanted.since) // _MINUTE_US
    able = [step for step in _STEPS if first >= kept_from[_width(step)] or step >= _DAY]
    step = next((step for step in able if length / step <= _MOST), able[-1])
    rhythm = 1
    if step < _DAY and length >= _DAILY_FROM * _DAY:
        rhythm = _DAY // step
    elif step == _DAY and length >= _WEEKLY_FROM * _DAY:
        rhythm = 7
    start = floor(wanted.since + step - timedelta.resolution, step)
    starts = [start + number * step for number in range(max((wanted.until - start) // step, 0))]
    return Stretches(starts, step, rhythm, _width(step))


def _width(step: timedelta) -> Width:
    if step >= _DAY:
        return "day"
    return "hour" if step >= timedelta(minutes=MINUTES["hour"]) else "minute"


def _series(
    connection: Connection[Any],
    wanted: Asked,
    stretches: Stretches,
    figures: Sequence[Figure],
    shown: Sequence[Member],
) -> dict[Member, dict[datetime, Group]]:
    """What is known of each member in each of the stretches.

    Args:
        connection: As above.
        wanted: Question.
        stretches: Of time.
        figures: That it is for.
        shown: Members that are wanted; all of them, if empty.
    """
    if not stretches.starts:
        return {}
    since, until = stretches.starts[0], stretches.starts[-1] + stretches.step
    plain = asked(wanted.which, since, until, stretches.width, ("measure",))
    only = {**plain.only, "measure": sorted({measure for figure in figures for measure in figure.measures})}
    if shown and all(member.name is not None for member in shown) and wanted.which.by != "component":
        only[MEMBER[plain.dimension]] = [_stored(member, plain.dimension) for member in shown]
    series: dict[Member, dict[datetime, Group]] = {}
    every = stretches.step // timedelta(minutes=MINUTES[stretches.width])
    question = replace(plain, only=only, spread=_have_quantiles(figures), every=every)
    for member, figure in told(connection, wanted.which, question):
        if figure.starts_at is not None:
            series.setdefault(member, {}).setdefault(figure.starts_at, Group()).add(figure)
    return series


def _stored(member: Member, dimension: Dimension) -> bytes | UUID | str:
    """The name of a member as buckets have it."""
    name = member.name or ""
    if dimension == "user":
        return bytes.fromhex(name)
    return UUID(name) if dimension == "space" else name
