"""Trends: told where there is one, and not where there is chance."""

from __future__ import annotations

from statistics import NormalDist

import pytest

from telemetry.analytics.tails import at_least, beyond
from telemetry.analytics.trends import trend

pytestmark = pytest.mark.req("A-05")


def test_a_line_has_its_slope_and_is_rising_or_falling() -> None:
    up = trend([10.0 + 3 * number for number in range(12)], 500)
    down = trend([100.0 - 2 * number for number in range(12)], 500)

    assert (up.direction, up.slope, up.values) == ("rising", 3.0, 12)
    assert (down.direction, down.slope) == ("falling", -2.0)


def test_one_that_is_far_off_changes_nothing() -> None:
    values = [10.0 + 3 * number for number in range(12)]
    values[5] = 10_000.0

    assert trend(values, 500).direction == "rising"
    assert trend(values, 500).slope == pytest.approx(3, rel=0.2)


def test_what_hardly_changes_is_steady_however_certain_it_is() -> None:
    assert trend([1000.0 + number for number in range(24)], 24_000).direction == "steady"
    assert trend([5.0] * 24, 500).direction == "steady"


@pytest.mark.parametrize(
    ("values", "events"),
    [([0.0] * 4 + [1.0] * 4, 500), ([float(number) for number in range(9)], 500), ([0.0] * 6 + [1.0] * 6, 6)],
    ids=["few values", "nine values", "few events"],
)
def test_few_are_no_trend(values: list[float], events: int) -> None:
    assert trend(values, events).direction == "unknown"


def test_a_few_errors_at_the_end_of_many_hours_are_no_trend() -> None:
    assert trend([0.0] * 21 + [1.0] * 3, 500).direction == "steady"


def test_stretches_without_anything_are_left_out() -> None:
    values = [None if number % 3 else float(number) for number in range(45)]

    assert trend(values, 100).slope == 1.0
    assert trend([None] * 20, 0).slope is None
    assert trend([], 0).direction == "unknown"


def test_a_daily_rhythm_is_no_trend_and_hides_none() -> None:
    day = [100.0, 300.0, 800.0, 200.0]
    rising = [value + 3 * number for number, value in enumerate(day * 7)]

    assert trend(day * 7, 1000, rhythm=4).direction == "steady"
    assert trend(rising, 1000, rhythm=4).direction == "rising"
    assert trend(rising, 1000, rhythm=4).slope == 3.0
    # Four seasons of seven values that all rise.
    certain = NormalDist().cdf(-(4 * 21 - 1) / (4 * 7 * 6 * 19 / 18) ** 0.5)
    assert trend(rising, 1000, rhythm=4).p_value == pytest.approx(2 * certain)
    assert trend(rising, 1000).direction == "steady"


def test_the_test_is_that_of_the_books() -> None:
    """Normal, with the variance n (n - 1) (2n + 5) / 18 of values without ties, and a correction for continuity."""
    values = [1.0, 2, 4, 3, 5, 7, 6, 9, 8, 12, 10, 11]
    score = sum((later > value) - (later < value) for at, value in enumerate(values) for later in values[at + 1 :])

    found = trend(values, 100)

    assert found.p_value == pytest.approx(2 * (1 - NormalDist().cdf((score - 1) / (12 * 11 * 29 / 18) ** 0.5)))


def test_equal_values_count_as_such() -> None:
    """Of 12 values in groups of three S is 54, and the variance 198 instead of 212.7."""
    found = trend([0.0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 100)

    assert found.p_value == pytest.approx(2 * (1 - NormalDist().cdf(53 / 198**0.5)))


def test_tails_are_those_of_sums() -> None:
    for count, mean, size in [(5, 0.14, 1), (10, 1, 7), (60, 6, 2), (200, 50, 3.3), (3, 10, 4), (1, 0.1, 1)]:
        assert at_least(count, mean, size) == pytest.approx(summed(count, mean, size), rel=1e-9)
    assert at_least(0, 3, 2) == 1
    assert beyond(1.959964) == pytest.approx(0.05, rel=1e-5)


def test_tails_of_great_counts_are_found_at_once() -> None:
    assert at_least(200_000, 100_000, 1e9) < 1e-300
    assert at_least(100_000, 100_000, 1e9) == pytest.approx(0.5, abs=0.01)


def summed(count: int, mean: float, size: float) -> float:
    mass, tail = (size / (size + mean)) ** size, 0.0
    for number in range(3000):
        tail += mass if number >= count else 0
        mass *= (number + size) / (number + 1) * mean / (size + mean)
    return tail
