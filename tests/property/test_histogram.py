"""Histograms: bounds that no rounding decides on, exact merges, quantiles within 1.1 %."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.rollups.histogram import FINEST, Histogram, bin_of, bounds, middle_of

pytestmark = pytest.mark.req("A-02")

VALUES = st.integers(0, 1 << 48)
HISTOGRAMS = st.builds(Histogram.of, st.lists(VALUES, max_size=30), st.integers(0, FINEST))


@pytest.mark.parametrize("scale", range(FINEST + 1))
def test_a_bound_is_the_least_whole_number_at_or_above_its_power(scale: int) -> None:
    parts = 1 << scale
    for power in range(0, 47 * parts + 1, 7):
        bound = bounds(scale)[bin_of(math.ceil(2 ** (power / parts)), scale) - 1]
        assert bound**parts >= 1 << power
        assert (bound - 1) ** parts < 1 << power


@pytest.mark.parametrize("scale", range(1, FINEST + 1))
def test_every_bound_of_a_coarser_scale_is_one_of_the_finer(scale: int) -> None:
    assert set(bounds(scale - 1)) < set(bounds(scale))


@given(value=st.integers(1, 1 << 46))
def test_the_middle_of_a_bin_is_near_every_value_in_it(value: int) -> None:
    assert abs(middle_of(bin_of(value)) - value) / value < 0.0109


@given(one=HISTOGRAMS, other=HISTOGRAMS, third=HISTOGRAMS)
def test_merging_does_not_care_about_order(one: Histogram, other: Histogram, third: Histogram) -> None:
    assert one.merged(other) == other.merged(one)
    assert one.merged(other).merged(third) == one.merged(other.merged(third))


@given(first=st.lists(VALUES, max_size=30), second=st.lists(VALUES, max_size=30), scale=st.integers(0, FINEST))
def test_merged_is_what_all_values_together_make(first: list[int], second: list[int], scale: int) -> None:
    fine, coarse = Histogram.of(first), Histogram.of(second, scale)

    assert fine.merged(coarse) == Histogram.of([*first, *second], scale)


@given(told=HISTOGRAMS)
def test_json_holds_all_of_it(told: Histogram) -> None:
    assert Histogram.from_json(told.to_json()) == told


def test_a_finer_scale_cannot_be_had_again() -> None:
    with pytest.raises(ValueError, match="scale 3"):
        Histogram(3).scaled(5)


def lognormal(chance: random.Random) -> float:
    return chance.lognormvariate(9, 1.5)


def bimodal(chance: random.Random) -> float:
    return chance.gauss(2000, 100) if chance.random() < 0.5 else chance.gauss(900_000, 50_000)


def constant(_: random.Random) -> float:
    return 1234


def heavy_tail(chance: random.Random) -> float:
    return 100 * chance.paretovariate(0.8)


@pytest.mark.parametrize("shape", [lognormal, bimodal, constant, heavy_tail])
@pytest.mark.parametrize("buckets", [1, 1440])
def test_percentiles_are_within_1_1_percent_before_and_after_merging(
    shape: Callable[[random.Random], float], buckets: int
) -> None:
    chance = random.Random(21)
    values = [max(int(shape(chance)), 1) for _ in range(15_000)]
    merged = Histogram()
    for number in range(buckets):
        merged = merged.merged(Histogram.of(values[number::buckets]))

    assert merged == Histogram.of(values)
    values.sort()
    for share in (0, 0.5, 0.95, 0.99, 1):
        exact = values[max(math.ceil(share * len(values)), 1) - 1]
        found = merged.quantile(share)
        assert found is not None
        assert abs(found - exact) / exact <= 0.011


def test_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
