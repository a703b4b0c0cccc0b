"""Stretches of metrics follow each other without gaps, in every zone and across every change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.rollups.metrics import Aggregation, start_of, stretches

pytestmark = pytest.mark.req("A-01", "A-06")

ZONES = (
    *("UTC", "Europe/Berlin", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"),
    *("America/Havana", "Atlantic/Azores"),
)
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
LENGTHS = {"minute": 0.1, "hour": 5, "day": 40, "week": 200, "month": 800}


@given(
    since=st.datetimes(datetime(2011, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - by `timezones`
    share=st.floats(0.01, 1),
    aggregation=st.sampled_from(AGGREGATIONS),
    zone=st.sampled_from(ZONES),
)
def test_stretches_have_no_gaps(since: datetime, share: float, aggregation: Aggregation, zone: str) -> None:
    until = since + timedelta(days=LENGTHS[aggregation] * share)

    found = list(stretches(since, until, aggregation, ZoneInfo(zone)))

    assert found[0][0] <= since
    assert found[-1][1] >= until
    for (first, end), (next_first, _) in pairwise(found):
        assert first < end == next_first
    for first, end in found:
        middle = first + (end - first) / 2
        assert start_of(middle, aggregation, ZoneInfo(zone)) == first


@pytest.mark.parametrize(
    ("aggregation", "zone", "instant", "start"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00:00+00:00", "2026-03-28T23:00:00+00:00"),
        ("day", "Europe/Berlin", "2026-03-30T00:00:00+00:00", "2026-03-29T22:00:00+00:00"),
        ("week", "UTC", "2026-11-22T00:00:00+00:00", "2026-11-16T00:00:00+00:00"),
        ("month", "America/Santiago", "2026-04-01T02:00:00+00:00", "2026-03-01T03:00:00+00:00"),
        ("day", "America/Havana", "2026-11-01T04:30:00+00:00", "2026-11-01T04:00:00+00:00"),
        ("day", "America/Havana", "2026-11-01T05:30:00+00:00", "2026-11-01T04:00:00+00:00"),
        ("month", "America/Havana", "2026-11-01T05:30:00+00:00", "2026-11-01T04:00:00+00:00"),
        ("hour", "Asia/Kolkata", "2026-01-01T10:45:00+00:00", "2026-01-01T10:00:00+00:00"),
    ],
)
def test_days_weeks_and_months_are_those_of_the_zone(
    aggregation: Aggregation, zone: str, instant: str, start: str
) -> None:
    assert start_of(datetime.fromisoformat(instant), aggregation, ZoneInfo(zone)) == datetime.fromisoformat(start)
