"""The metrics there are, what each is made of, and its points over time.

A request is what somebody waits for: an execution that has come to its end, or a chat request that has. Dry runs are
none: what they did was never done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import Connection

from telemetry.rollups.histogram import Histogram
from telemetry.rollups.parts import MEMBER, Dimension, Width
from telemetry.rollups.question import Question
from telemetry.rollups.reading import Figure, answer

Aggregation = Literal["minute", "hour", "day", "week", "month"]

#: Types of events that end a request, by their component.
REQUESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("chat.request.completed", "chat.request.failed"),
    "command": ("command.execution.completed", "command.execution.failed", "command.execution.cancelled"),
}
#: Of all of them.
REAL: Final[Mapping[str, tuple[bool, ...]]] = {"dry_run": (False,)}
#: Users, or spaces, that one answer names.
MAX_MEMBERS: Final = 100
CATEGORIES: Final = ("network", "timeout", "rate_limit", "server", "validation", "internal")

#: Categories of what failed without an error: nothing went wrong but time.
WITHOUT_ERROR: Final[Mapping[Any, str]] = {"expired": "timeout"}

_BY: Final = ("error_category", "outcome", "measure")
_UTC: Final = ZoneInfo("UTC")
_MINUTE: Final = timedelta(minutes=1)


@dataclass(slots=True)
class Tally:
    """What is known of one measure of some requests.

    Attributes:
        events: How many have it; of `duration`, all.
        errors: How many of them are errors.
        total: Sum of the values.
        histogram: Of the values.
        categories: Errors by category.
    """

    events: int = 0
    errors: int = 0
    measured: int = 0
    total: int = 0
    histogram: Histogram = field(default_factory=Histogram)
    categories: dict[str, int] = field(default_factory=dict)

    def add(self, figure: Figure) -> None:
        """Count what a figure says."""
        self.events += figure.events
        self.errors += figure.errors
        self.measured += figure.measured
        self.total += figure.total
        self.histogram = self.histogram.merged(figure.histogram)
        if figure.errors:
            category = figure.key.get("error_category") or WITHOUT_ERROR.get(figure.key.get("outcome"), "internal")
            self.categories[category] = self.categories.get(category, 0) + figure.errors


@dataclass(frozen=True, slots=True)
class Bucket:
    """The requests of one stretch of time, by measure.

    Attributes:
        starts_at: When it begins.
        minutes: How long it is, as far as it was asked for.
        measures: What is known of each.
    """

    starts_at: datetime
    minutes: float
    measures: Mapping[str, Tally]

    def of(self, measure: str) -> Tally:
        """What is known of one measure; nothing, if none of them has it."""
        return self.measures.get(measure) or Tally()


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric.

    Attributes:
        timestamp: When its bucket begins.
        value: In the metric's unit; none where there is nothing to tell: the latency of no requests.
        metadata: What else is known of it.
    """

    timestamp: datetime
    value: float | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is.

    Attributes:
        name: As it is asked for.
        unit: Of its values.
        point: Its value in a bucket, and what else is known there.
    """

    name: str
    unit: str
    point: Callable[[Bucket], tuple[float | None, dict[str, Any]]]


def _rate(bucket: Bucket) -> tuple[float | None, dict[str, Any]]:
    requests = bucket.of("duration").events
    return round(requests / bucket.minutes, 6) if bucket.minutes else 0.0, {"requests": requests}


def _latency(measure: str) -> Callable[[Bucket], tuple[float | None, dict[str, Any]]]:
    def point(bucket: Bucket) -> tuple[float | None, dict[str, Any]]:
        told = latency_of(bucket.of(measure))
        return told["average"], told

    return point


def _tokens(*measures: str) -> Callable[[Bucket], tuple[float | None, dict[str, Any]]]:
    def point(bucket: Bucket) -> tuple[float | None, dict[str, Any]]:
        total = sum(bucket.of(measure).total for measure in measures)
        requests = max(bucket.of(measure).measured for measure in measures)
        return float(total), {
            "requests": requests,
            "average_per_request": round(total / requests, 3) if requests else None,
        }

    return point


def _error_rate(bucket: Bucket) -> tuple[float | None, dict[str, Any]]:
    told = errors_of(bucket.of("duration"))
    return told["rate_percent"], told


def _cache(bucket: Bucket) -> tuple[float | None, dict[str, Any]]:
    told = cache_of(bucket.of("cache_hit"))
    return told["rate_percent"], told


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("request_rate", "requests/min", _rate),
        Metric("total_latency", "ms", _latency("duration")),
        Metric("context_latency", "ms", _latency("context")),
        Metric("llm_latency", "ms", _latency("model")),
        Metric("prompt_tokens", "tokens", _tokens("prompt_tokens")),
        Metric("completion_tokens", "tokens", _tokens("completion_tokens")),
        Metric("total_tokens", "tokens", _tokens("prompt_tokens", "completion_tokens")),
        Metric("error_rate", "percent", _error_rate),
        Metric("cache_hit_rate", "percent", _cache),
    )
}
#: Shorter names, of what is asked for most.
SHORT: Final[Mapping[str, str]] = {
    "latency": "total_latency",
    "tokens": "total_tokens",
    "errors": "error_rate",
    "cache": "cache_hit_rate",
    "requests": "request_rate",
}


def latency_of(tally: Tally) -> dict[str, Any]:
    """Statistics of durations, in milliseconds; average, least and greatest are exact, percentiles within 1.1 %."""
    histogram = tally.histogram
    percentiles = {
        # A digit more than durations have: the middle of two neighbouring microseconds is between them.
        name: None if (found := histogram.quantile(share)) is None else round(found / 1000, 4)
        for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    return {
        "count": tally.measured,
        "average": round(tally.total / tally.measured / 1000, 3) if tally.measured else None,
        **percentiles,
        "min": None if histogram.least is None else histogram.least / 1000,
        "max": None if histogram.greatest is None else histogram.greatest / 1000,
    }


def errors_of(tally: Tally) -> dict[str, Any]:
    """Errors of requests: how many, which share of all, and the same by category."""
    requests = tally.events
    return {
        "requests": requests,
        "errors": tally.errors,
        "rate_percent": _percent(tally.errors, requests),
        "count_by_type": {name: tally.categories.get(name, 0) for name in CATEGORIES},
        "rate_by_type": {name: _percent(tally.categories.get(name, 0), requests) for name in CATEGORIES},
    }


def cache_of(tally: Tally) -> dict[str, Any]:
    """Hits and misses of requests that looked whether the answer was there already."""
    hits, looked = tally.total, tally.measured
    return {"hits": hits, "misses": looked - hits, "rate_percent": _percent(hits, looked)}


def tokens_of(measures: Mapping[str, Tally]) -> dict[str, Any]:
    """Tokens of requests."""
    prompt = measures.get("prompt_tokens") or Tally()
    completion = measures.get("completion_tokens") or Tally()
    total, requests = prompt.total + completion.total, max(prompt.measured, completion.measured)
    return {
        "prompt": prompt.total,
        "completion": completion.total,
        "total": total,
        "requests": requests,
        "average_per_request": round(total / requests, 3) if requests else None,
    }


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What requests one wants to know of.

    Attributes:
        since: The first instant.
        until: The end, not included.
        components: Of `REQUESTS`.
        user_id: Only of this user; a pseudonym.
        space_id: Only in this space; not together with `user_id`.
        operation: Only of this command or model; alone.
    """

    since: datetime
    until: datetime
    components: Sequence[str] = tuple(REQUESTS)
    user_id: bytes | None = None
    space_id: UUID | None = None
    operation: str | None = None


def buckets(connection: Connection[Any], asked: Asked, aggregation: Aggregation, zone: ZoneInfo = _UTC) -> list[Bucket]:
    """The requests of each minute, hour, day, week (from Monday) or month; those without any included.

    Days, weeks and months are of a time zone, and made of whole hours; where that is some minutes off UTC's, of those
    that begin in them.

    Args:
        connection: In a transaction with one view (`telemetry.reading`).
        asked: Which requests, and of when.
        aggregation: Of what length.
        zone: Whose days.

    Raises:
        psycopg.Error: Postgres did not answer, or not in time.
    """
    width = _width(aggregation, zone)
    told = answer(connection, question(asked, width, _BY))
    starts = list(stretches(start_of(told.since, width), told.until, aggregation, zone))
    measures: dict[datetime, dict[str, Tally]] = {start: {} for start, _ in starts}
    for figure in told.figures:
        if figure.starts_at is not None:
            of_bucket = measures[start_of(figure.starts_at, aggregation, zone)]
            of_bucket.setdefault(figure.key["measure"], Tally()).add(figure)
    # The first and the last may be cut: a rate is of the minutes that were counted.
    cut = [(start, min(end, told.until) - max(start, told.since)) for start, end in starts]
    return [Bucket(start, length / _MINUTE, measures[start]) for start, length in cut]


def total(connection: Connection[Any], asked: Asked) -> Bucket:
    """All requests of a time in one. Raises as `buckets`."""
    told = answer(connection, question(asked, None, _BY))
    return Bucket(told.since, (told.until - told.since) / _MINUTE, tallied(told.figures))


def count(connection: Connection[Any], asked: Asked) -> int:
    """How many requests ended. Raises as `buckets`."""
    plain = replace(question(asked, None, ()), spread=False)
    only = {**plain.only, "measure": ["duration"]}
    return sum(figure.events for figure in answer(connection, replace(plain, only=only)).figures)


def tokens_by(connection: Connection[Any], asked: Asked, whose: Literal["user", "space"]) -> dict[str, int]:
    """Tokens by pseudonym of the user, or by id of the space, the most first; `none` is nobody's. Raises as `buckets`.

    What is asked of one user is not told by space, nor the other way round: both together are not kept.
    """
    column = MEMBER[whose]
    plain = question(asked, None, (column,))
    if plain.dimension not in ("operation", whose):
        return {}
    only = {**plain.only, "measure": ["prompt_tokens", "completion_tokens"]}
    found = answer(connection, replace(plain, dimension=whose, only=only, spread=False)).figures
    totals = {_member_name(figure.key[column]): figure.total for figure in found}
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:MAX_MEMBERS])


def _member_name(member: bytes | UUID | None) -> str:
    if member is None:
        return "none"
    return member.hex() if isinstance(member, bytes) else str(member)


def tallied(figures: Iterable[Figure]) -> dict[str, Tally]:
    """Figures by their measure."""
    measures: dict[str, Tally] = {}
    for figure in figures:
        measures.setdefault(figure.key["measure"], Tally()).add(figure)
    return measures


def question(asked: Asked, width: Width | None, by: tuple[str, ...]) -> Question:
    """What is asked of the roll-ups."""
    only: dict[str, Any] = {**REAL, "event_type": [kind for name in asked.components for kind in REQUESTS[name]]}
    dimension: Dimension = "operation"
    if asked.user_id is not None:
        dimension, only["user_id"] = "user", [asked.user_id]
    elif asked.space_id is not None:
        dimension, only["space_id"] = "space", [asked.space_id]
    elif asked.operation is not None:
        only["operation"] = [asked.operation]
    return Question(asked.since, asked.until, width, dimension, by, only)


def points(metric: Metric, found: Iterable[Bucket]) -> list[Point]:
    """The points of a metric, one for each bucket."""
    return [Point(bucket.starts_at, *metric.point(bucket)) for bucket in found]


def start_of(instant: datetime, aggregation: Aggregation, zone: ZoneInfo = _UTC) -> datetime:
    """When the bucket begins that an instant is in."""
    local = instant.astimezone(zone).replace(second=0, microsecond=0)
    if aggregation == "minute":
        return local.astimezone(_UTC)
    # Hours of UTC: those of a zone are the same, or begin some minutes off.
    if aggregation == "hour":
        return instant.astimezone(_UTC).replace(minute=0, second=0, microsecond=0)
    # The first of the two midnights, where clocks go back at one o'clock.
    day = local.replace(hour=0, minute=0, fold=0)
    if aggregation == "week":
        day -= timedelta(days=day.weekday())
    elif aggregation == "month":
        day = day.replace(day=1)
    return day.astimezone(_UTC)


def _width(aggregation: Aggregation, zone: ZoneInfo) -> Width:
    """Of the buckets that are read: days of a zone are made of hours."""
    narrow: Mapping[Aggregation, Width] = {"minute": "minute", "hour": "hour"}
    return narrow.get(aggregation) or ("day" if zone == _UTC else "hour")


def stretches(
    since: datetime, until: datetime, aggregation: Aggregation, zone: ZoneInfo
) -> Iterable[tuple[datetime, datetime]]:
    """Beginning and end of each bucket that there is something of between two instants."""
    start = start_of(since, aggregation, zone)
    while start < until:
        end = _next(start, aggregation, zone)
        yield start, end
        start = end


def _next(start: datetime, aggregation: Aggregation, zone: ZoneInfo) -> datetime:
    steps = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
    if aggregation in steps:
        return start + steps[aggregation]
    days = {"day": 1, "week": 7, "month": 32}[aggregation]
    # Noon of that day: no zone skips it, whatever its clocks do at night.
    noon = start.astimezone(zone).replace(tzinfo=None) + timedelta(days=days, hours=12)
    return start_of(noon.replace(tzinfo=zone), aggregation, zone)
