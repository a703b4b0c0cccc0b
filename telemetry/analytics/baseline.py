"""Whether a count is a spike: judged by what was counted before. Pure.

With S counted in n stretches as long, a count x is compared with a negative binomial distribution of mean
M = (S + 1) / n and variance φ M (1 + 1/n). Where counts are as scattered as those of a Poisson process (φ = 1), its
tail is that of the exact test of two Poisson means: given S + x, x is binomial (Przyborowski and Wilenski 1940,
Biometrika 31). So it holds for any rate, zero errors so far among them. φ is how much more they are scattered, at
least 1, as in quasi-Poisson baselines of epidemiology (Farrington et al. 1996, J. R. Statist. Soc. A 159); as there,
outbreaks in the past do not count in full: counts are cut (`_cut`).
docs/explanation/analytics.md tells it with an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from telemetry.analytics.tails import at_least

#: A spike is this many, and this many times what was expected, at least: less is nobody's trouble, whatever its odds.
LEAST_COUNT: Final = 5
LEAST_RATIO: Final = 2.0
#: Days on which a spike is told that is none, over all that is looked at: one in a hundred.
FALSE_DAYS: Final = 0.01

#: From the median of a baseline, in standard deviations.
_CUT: Final = 4.0
#: Median absolute deviations of one standard deviation, of a normal distribution.
_NORMAL: Final = 1.4826
#: The rate of errors is believed to vary by 1/√2 of itself at most: ten times what is usual is always found.
_LEAST_SIZE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was counted before.

    Attributes:
        name: What it is made of.
        counts: Of stretches of the same length, in any order; at least one.
        share: How long what is judged is, in these stretches.
    """

    name: str
    counts: Sequence[int]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a count is worth.

    Attributes:
        is_spike: Whether it is told.
        expected: How many were expected.
        p_value: How probable as many or more are, if nothing has changed; 1 where nobody computed it, for there were
            too few.
        baseline: Name of the baseline that explains it best.
    """

    is_spike: bool
    expected: float
    p_value: float
    baseline: str


def level(buckets_per_day: float, series: int) -> float:
    """How improbable a count must be: `FALSE_DAYS`, shared by all that is judged in a day (Bonferroni)."""
    return FALSE_DAYS / (buckets_per_day * max(series, 1))


def judge(count: int, baselines: Iterable[Baseline], threshold: float) -> Verdict | None:
    """Judge a count by the baseline that explains it best: a spike stands out against each of them.

    None if there is no baseline. A greater count is never less of a spike.

    Args:
        count: Of errors.
        baselines: That it is compared with.
        threshold: `level` of it.
    """
    verdicts = [_judged(count, baseline, threshold) for baseline in baselines]
    return max(verdicts, key=lambda verdict: (verdict.p_value, verdict.expected), default=None)


def _judged(count: int, baseline: Baseline, threshold: float) -> Verdict:
    mean, size = _prediction(baseline)
    if count < LEAST_COUNT or count < LEAST_RATIO * mean:
        return Verdict(is_spike=False, expected=mean, p_value=1.0, baseline=baseline.name)
    p_value = at_least(count, mean, size)
    return Verdict(p_value <= threshold, mean, p_value, baseline.name)


def _prediction(baseline: Baseline) -> tuple[float, float]:
    """Mean and size of the negative binomial distribution that another count is expected to have."""
    counts, stretches = _cut(baseline.counts), len(baseline.counts) / baseline.share
    total = sum(counts)
    mean = (total + 1) / stretches
    excess = _scatter(counts) * mean * (1 + 1 / stretches) - mean
    size = mean * mean / excess
    # With nothing counted yet, size is 1: the exact test, which has more doubt than this allows.
    return mean, max(size, min(_LEAST_SIZE, total + 1))


def _cut(counts: Sequence[int]) -> list[float]:
    """The counts, none of them higher than what is still usual."""
    middle = median(counts)
    deviation = _NORMAL * median(abs(count - middle) for count in counts)
    highest = middle + _CUT * max(math.sqrt(middle + 1), deviation)
    return [min(count, highest) for count in counts]


def _scatter(counts: Sequence[float]) -> float:
    """Variance by mean, at least 1: that of a Poisson process."""
    mean = sum(counts) / len(counts)
    if len(counts) == 1 or mean == 0:
        return 1.0
    variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    return max(variance / mean, 1.0)
