"""The figures there are: each has a value for any group of events over any time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from telemetry.analytics.groups import Group
from telemetry.rollups.metrics import (
    METRICS,
    SHORT,
    Bucket,
    Tally,
    cache_of,
    errors_of,
    latency_of,
    tokens_of,
)

_MINUTE: Final = timedelta(minutes=1)
_HOUR_MINUTES, _DAY_MINUTES = 60, 1440
#: What became of something that did not succeed; what was cancelled or skipped is neither.
FAILED: Final = ("failed", "expired", "dead")


class Figure(NamedTuple):
    """A figure.

    Attributes:
        name: As it is asked for.
        unit: Of its values.
        value: Of a group; none where there is nothing to tell.
        measures: That it is made of; the first says of how many events it tells.
        has_quantiles: Whether it needs more than sums.
    """

    name: str
    unit: str
    value: Callable[[Bucket], float | None]
    measures: tuple[str, ...] = ("duration",)
    has_quantiles: bool = False

    def events(self, group: Group) -> int:
        """How many events it tells of."""
        tally = group.of(self.measures[0])
        return tally.events if self.measures == ("duration",) else tally.measured


def _quantile(share: float) -> Callable[[Bucket], float | None]:
    def value(bucket: Bucket) -> float | None:
        found = bucket.of("duration").histogram.quantile(share)
        return None if found is None else round(found / 1000, 3)

    return value


def _average(measure: str) -> Callable[[Bucket], float | None]:
    """Of sums alone: trends are read without quantiles."""

    def value(bucket: Bucket) -> float | None:
        tally = bucket.of(measure)
        return round(tally.total / tally.measured / 1000, 3) if tally.measured else None

    return value


def _of_metric(name: str) -> Callable[[Bucket], float | None]:
    measure = _LATENCIES.get(name)
    return _average(measure) if measure else lambda bucket: METRICS[name].point(bucket)[0]


_LATENCIES: Final = {"total_latency": "duration", "context_latency": "context", "llm_latency": "model"}


_MEASURES: Final = {
    **{name: (measure,) for name, measure in _LATENCIES.items()},
    "prompt_tokens": ("prompt_tokens",),
    "completion_tokens": ("completion_tokens",),
    "total_tokens": ("prompt_tokens", "completion_tokens"),
    "cache_hit_rate": ("cache_hit",),
}

FIGURES: Final[Mapping[str, Figure]] = {
    figure.name: figure
    for figure in (
        *(
            Figure(metric.name, metric.unit, _of_metric(metric.name), _MEASURES.get(metric.name, ("duration",)))
            for metric in METRICS.values()
        ),
        Figure("error_count", "errors", lambda bucket: float(bucket.of("duration").errors)),
        Figure("total_time", "ms", lambda bucket: bucket.of("duration").total / 1000),
        *(
            Figure(name, "ms", _quantile(share), has_quantiles=True)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
    )
}
#: Shorter names.
ALSO: Final[Mapping[str, str]] = {**SHORT, "time": "total_time"}


def bucket_of(group: Group, since: datetime, until: datetime) -> Bucket:
    """A group over some time, as figures take it."""
    return Bucket(since, (until - since) / _MINUTE, group.measures)


def statistics(group: Group, whole: Group, since: datetime, until: datetime) -> dict[str, Any]:
    """All that is known of a group: the JSON of it, but what it is of. Durations are milliseconds.

    Args:
        group: What it is of.
        whole: What its shares are of.
        since: Of when.
        until: The end, not included; later.
    """
    duration, minutes = group.of("duration"), (until - since) / _MINUTE
    return {
        "requests": {
            "count": duration.events,
            "share_percent": _percent(duration.events, whole.of("duration").events),
            "per_minute": round(duration.events / minutes, 6),
            "per_hour": round(duration.events / minutes * _HOUR_MINUTES, 6),
            "per_day": round(duration.events / minutes * _DAY_MINUTES, 6),
        },
        "outcomes": dict(sorted(group.outcomes.items())),
        "success_percent": success_percent(group),
        "errors": errors_of(duration),
        "latency": {
            "total": latency_of(duration),
            "context": latency_of(group.of("context")),
            "llm": latency_of(group.of("model")),
        },
        "time": {
            "total_ms": duration.total / 1000,
            "share_percent": _percent(duration.total, whole.of("duration").total),
        },
        "tokens": tokens_of(group.measures),
        "cache": cache_of(group.of("cache_hit")),
    }


def success_percent(group: Group) -> float | None:
    """How many of those that succeeded or failed succeeded."""
    succeeded = group.outcomes.get("succeeded", 0)
    return _percent(succeeded, succeeded + sum(group.outcomes.get(name, 0) for name in FAILED))


def merged(groups: Mapping[Any, Group]) -> Group:
    """All groups in one."""
    whole = Group()
    for group in groups.values():
        for name, tally in group.measures.items():
            _add(whole.measures.setdefault(name, Tally()), tally)
        for outcome, count in group.outcomes.items():
            whole.outcomes[outcome] = whole.outcomes.get(outcome, 0) + count
    return whole


def _add(to: Tally, tally: Tally) -> None:
    to.events += tally.events
    to.errors += tally.errors
    to.measured += tally.measured
    to.total += tally.total
    to.histogram = to.histogram.merged(tally.histogram)
    for category, count in tally.categories.items():
        to.categories[category] = to.categories.get(category, 0) + count


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None
