"""Rounds: measurements taken in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")


def interleave(measurements: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Take every measurement once a round; each other round in the opposite order, so that none profits from its place.

    Returns:
        Of each measurement its results, one a round.
    """
    results: dict[str, list[T]] = {name: [] for name in measurements}
    for number in range(rounds):
        names = list(measurements)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            results[name].append(measurements[name]())
    return results


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile, 1 to 99, of at least two values; interpolated."""
    return median(values) if percent == 50 else quantiles(values, n=100, method="inclusive")[percent - 1]
