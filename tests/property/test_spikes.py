"""Spikes: none where nothing has changed, always where it is ten times as much, and more is never less."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.analytics.baseline import LEAST_COUNT, Baseline, Verdict, judge, level
from telemetry.analytics.history import HOUR, SLOT, Known, of_hour, of_slot
from telemetry.analytics.trends import LEVEL, trend

pytestmark = pytest.mark.req("A-05")

COUNTS = st.lists(st.integers(0, 5000), min_size=6, max_size=28)
BASELINES = st.lists(
    st.builds(Baseline, st.just("days"), COUNTS, st.sampled_from([1.0, 1 / 12])), min_size=1, max_size=3
)
LEVELS = st.builds(level, st.sampled_from([24.0, 288.0]), st.integers(1, 100))
START = datetime(2026, 3, 2, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")


def judged(count: int, baselines: Sequence[Baseline], threshold: float) -> Verdict:
    verdict = judge(count, baselines, threshold)
    assert verdict is not None
    return verdict


def poisson(chance: random.Random, mean: float) -> int:
    """Small ones one by one, large ones in parts: sums of Poisson counts are Poisson counts."""
    if mean > 30:
        return poisson(chance, mean / 2) + poisson(chance, mean / 2)
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        product *= chance.random()
        count += 1
    return count


@given(BASELINES, LEVELS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_errors_are_never_less_of_a_spike(
    baselines: list[Baseline], threshold: float, first: int, second: int
) -> None:
    less, more = (judged(count, baselines, threshold) for count in sorted((first, second)))

    assert more.p_value <= less.p_value * (1 + 1e-9)
    assert more.is_spike or not less.is_spike


@given(BASELINES, LEVELS)
def test_ten_times_as_many_as_expected_are_always_a_spike(baselines: list[Baseline], threshold: float) -> None:
    expected = max(judged(0, [baseline], threshold).expected for baseline in baselines)
    count = max(math.ceil(10 * expected), 40)

    assert judged(count, baselines, threshold).is_spike


@given(COUNTS, LEVELS, st.integers(0, LEAST_COUNT - 1))
def test_fewer_than_five_are_none(counts: list[int], threshold: float, count: int) -> None:
    assert not judged(count, [Baseline("days", counts)], threshold).is_spike


@pytest.mark.parametrize("days", [7, 28])
def test_a_rate_that_does_not_change_makes_no_more_spikes_than_said(days: int) -> None:
    """At a level that can be counted: of 4,000 judged at 1 in 100, no more than 40 and chance."""
    chance, rounds, threshold = random.Random(days), 4000, 0.01
    false = 0
    for number in range(rounds):
        mean = (0.3, 2.0, 8.0, 40.0)[number % 4]
        counts = [poisson(chance, mean) for _ in range(days)]
        verdict = judged(poisson(chance, mean), [Baseline("days", counts)], threshold)
        false += verdict.p_value <= threshold  # whether or not it is twice as much

    assert false <= rounds * threshold + 3 * math.sqrt(rounds * threshold)


def test_a_month_of_many_quiet_series_has_next_to_no_spike() -> None:
    """As it is used: 100 series, each hour of 30 days, at the level of them all. One in a hundred days is allowed."""
    chance, threshold = random.Random(1), level(24, 100)
    spikes = 0
    for series in range(100):
        mean = (0.05, 0.5, 3.0, 20.0)[series % 4]
        counts = [poisson(chance, mean) for _ in range(58)]
        # One hour of the day, 30 days: a 24th of all.
        for day in range(28, 58):
            spikes += judged(counts[day], [Baseline("days", counts[day - 28 : day])], threshold).is_spike

    assert spikes <= 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=24, max_size=24), st.integers(0, 6), st.integers(0, 10**6))
def test_what_comes_again_each_day_is_no_spike(day: list[int], weekend: int, seed: int) -> None:
    """Whatever a day looks like, and on two days of the week ten times as much: once known, none of it is told."""
    chance = random.Random(seed)
    threshold = level(24, 20)
    counts: dict[datetime, int] = {}
    for number in range(35 * 24):
        at = START + number * HOUR
        busy = 10 if (at.weekday() - weekend) % 7 < 2 else 1
        counts[at] = poisson(chance, day[at.hour] * busy / 4)
    known = Known(START - HOUR, frozenset((START + timedelta(days=number)).date() for number in range(37)))

    spikes = [
        at
        for at in (START + number * HOUR for number in range(28 * 24, 35 * 24, 2))
        if (verdict := judge(counts[at], of_hour(at, counts, known, UTC_ZONE), threshold)) and verdict.is_spike
    ]

    assert spikes == []


def test_what_runs_at_the_full_hour_or_once_a_night_is_no_spike_of_five_minutes() -> None:
    hours: dict[datetime, int] = {}
    slots: dict[datetime, int] = {}
    for number in range(9 * 24):
        at = START + number * HOUR
        slots[at] = 20 + (60 if at.hour == 3 else 0)
        hours[at] = slots[at]
    known = Known(START - HOUR, frozenset((START + timedelta(days=number)).date() for number in range(10)))

    def verdict(at: datetime, count: int) -> Any:  # noqa: ANN401 - perhaps none
        return judge(count, of_slot(at, hours, slots, known, UTC_ZONE), level(288, 5))

    last = START + timedelta(days=8)
    assert not any(verdict(last + number * HOUR, slots[last + number * HOUR]).is_spike for number in range(24))
    assert verdict(last + 5 * HOUR + 3 * SLOT, 60).is_spike
    assert verdict(last + 5 * HOUR, 400).is_spike


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_chance_makes_no_more_trends_than_said(seed: int) -> None:
    chance = random.Random(seed)
    found = [trend([float(poisson(chance, 3.0)) for _ in range(24)], 72).direction for _ in range(10)]

    assert found.count("steady") >= 10 - 2 - math.ceil(10 * LEVEL)
