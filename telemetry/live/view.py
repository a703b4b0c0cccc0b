"""What somebody sees of the live figures. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from telemetry.clock import from_unix_us
from telemetry.live.deltas import Figures
from telemetry.live.store import OTHER, By, MetricsStore, Series
from telemetry.rollups.metrics import METRICS, REQUESTS, Bucket

_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for.

    Attributes:
        minutes: Whole ones, beside the one that is running.
        component: Of `REQUESTS`; none for all.
        by: What tells requests apart.
    """

    minutes: int
    component: str | None = None
    by: By | None = None


def figures(store: MetricsStore, view: View, now_us: int) -> Figures:
    """Every metric of the requests of a window: whole minutes, and the running one as far as it has come.

    Returns:
        `start`, `minutes` and `metrics`; if something tells them apart `series` by member, and `other`.
    """
    running = now_us // _MINUTE_US
    first = max(running - view.minutes, store.first_minute)
    components = tuple(REQUESTS) if view.component is None else (view.component,)
    minutes = now_us / _MINUTE_US - first

    def told(*series: Series) -> Figures:
        bucket = Bucket(from_unix_us(first * _MINUTE_US), minutes, store.get_range(series, first, running + 1))
        return {name: _point(bucket, name) for name in METRICS}

    found: Figures = {
        "start": from_unix_us(first * _MINUTE_US),
        "minutes": round(minutes, 3),
        "metrics": told(*map(Series, components)),
    }
    if view.by is not None:
        by = view.by
        each = {
            member: told(*(Series(component, by, member) for component in components)) for member in store.members(by)
        }
        found["series"] = {
            member: said for member, said in each.items() if said["request_rate"]["metadata"]["requests"]
        }
        found["other"] = told(*(Series(component, by, OTHER) for component in components))
    return found


def units() -> dict[str, str]:
    """Of each metric."""
    return {name: metric.unit for name, metric in METRICS.items()}


def _point(bucket: Bucket, name: str) -> Figures:
    value, metadata = METRICS[name].point(bucket)
    return {"value": value, "metadata": metadata}
