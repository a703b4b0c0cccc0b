"""Whether something rises or falls, and by how much: robust, and not by chance. Pure.

Slope: the median of the slopes between any two values (Theil 1950; Sen 1968, J. Am. Stat. Assoc. 63). Whether there is
a trend at all: the test of Mann (1945, Econometrica 13) and Kendall (1975, Rank Correlation Methods), with ties, and a
correction for continuity. Where there is a rhythm, only values of the same time of it are compared, in both (Hirsch,
Slack and Smith 1982, Water Resources Research 18).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final, Literal

from telemetry.analytics.tails import beyond

Direction = Literal["rising", "falling", "steady", "unknown"]

#: Values, and events that they tell of, without which nothing is said: with fewer the normal distribution is none.
LEAST_VALUES: Final = 10
LEAST_EVENTS: Final = 20
#: How improbable it must be that there is no trend.
LEVEL: Final = 0.01
#: From the first value to the last, by the slope, as a share of their median: less is steady, however certain.
LEAST_CHANGE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Trend:
    """Where values go.

    Attributes:
        direction: `unknown` if there are too few to tell.
        slope: From one value to the next; none if no two can be compared.
        p_value: How probable as much of a trend is by chance; none without a slope.
        values: How many there were.
    """

    direction: Direction
    slope: float | None
    p_value: float | None
    values: int


def trend(values: Sequence[float | None], events: int, rhythm: int = 1) -> Trend:
    """Where values go.

    Args:
        values: One after the other, the same time apart; none where there is nothing to tell.
        events: How many events they tell of, all together.
        rhythm: After how many values everything comes again: 24 for hours of days. 1 is none.
    """
    known = [(at, value) for at, value in enumerate(values) if value is not None]
    seasons = [[each for each in known if each[0] % rhythm == season] for season in range(rhythm)]
    slopes = [slope for season in seasons for slope in _slopes(season)]
    if not slopes:
        return Trend("unknown", None, None, len(known))
    slope = median(slopes)
    p_value = _p_value([[value for _, value in season] for season in seasons])
    if len(known) < LEAST_VALUES or events < LEAST_EVENTS:
        return Trend("unknown", slope, p_value, len(known))
    change = slope * (len(values) - 1)
    is_steady = p_value > LEVEL or abs(change) < LEAST_CHANGE * median(abs(value) for _, value in known)
    direction: Direction = "steady" if is_steady or slope == 0 else "rising" if slope > 0 else "falling"
    return Trend(direction, slope, p_value, len(known))


def _slopes(season: Sequence[tuple[int, float]]) -> Iterator[float]:
    for (at, value), (later, other) in combinations(season, 2):
        yield (other - value) / (later - at)


def _p_value(seasons: Sequence[Sequence[float]]) -> float:
    """Of the Mann-Kendall test, to both sides; that of several seasons is of their sums."""
    score = sum(_sign(later - value) for season in seasons for value, later in combinations(season, 2))
    variance = sum(map(_variance, seasons))
    if variance == 0:
        return 1.0
    return beyond(max(abs(score) - 1, 0) / math.sqrt(variance))


def _variance(season: Sequence[float]) -> float:
    """Of the score, if there is no trend: lower with ties."""
    groups = [len(season), *(-ties for ties in Counter(season).values())]
    return sum(math.copysign(1, size) * abs(size) * (abs(size) - 1) * (2 * abs(size) + 5) for size in groups) / 18


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)
